/* A shard's life: begin with a replay, turns, end. */
#include "src/shard/shard.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "src/base/error.h"
#include "src/base/logger.h"
#include "src/base/memory.h"
#include "src/shard/rows.h"
#include "src/shard/shard_internal.h"

enum {
    JOB_WAIT_US = 200,
    EXPECT_EVERY_MS = 60000,
    CLOCK_SLACK_MS = 1000,
    CEILING_AHEAD_MAX = 10 /* leases: each start begins above the last ceiling, so that quick ones add up */
};

void shard_fail(struct shard *s, int err, const char *what)
{
    if (s->failed)
        return;
    s->failed = true;
    s->options.on_fatal(s->options.owner, err, what);
}

static void on_log_fatal(void *owner, int err, const char *what)
{
    shard_fail(owner, err, what);
}

/* On the store's thread: the process ends here, so nothing is touched but the owner. */
static void on_store_fatal(void *owner, const char *what)
{
    const struct shard *s = owner;
    s->options.on_fatal(s->options.owner, -PARLEY_ERR_IO, what);
}

static void on_store_done(void *owner)
{
    const struct shard *s = owner;
    if (s->options.wake)
        s->options.wake(s->options.owner);
}

static uint64_t next_ceiling(void *owner)
{
    struct shard *s = owner;
    uint64_t ceiling = snowflake_ceiling(&s->ids, clock_wall_ms(s->options.clock), s->options.lease_ms);
    if (ceiling > s->ceiling)
        s->ceiling = ceiling;
    return s->ceiling;
}

static void expect_month(struct shard *s, uint64_t now_ms)
{
    if (now_ms - s->expected_ms < EXPECT_EVERY_MS) /* a clock that stepped back asks again */
        return;
    s->expected_ms = now_ms;
    store_expect_month(s->store, snowflake_month(snowflake_ceiling(&s->ids, now_ms, 0)));
}

/* Ids and ceilings do not step back with the clock; that it did is somebody's mistake all the same. */
static void watch_clock(struct shard *s, uint64_t now_ms)
{
    if (now_ms + CLOCK_SLACK_MS < s->wall_ms)
        logger_line(LOGGER_WARN, "clock_stepped_back", logger_u64("shard", s->options.number),
                    logger_u64("by_ms", s->wall_ms - now_ms));
    s->wall_ms = now_ms;
}

void shard_turn_end(struct shard *s)
{
    if (s->failed)
        return;
    store_poll(s->store);
    shard_write_back(s);
    shard_evict(s);
    shard_trim(s);
    derive_turn(s);
    uint64_t now = clock_wall_ms(s->options.clock);
    watch_clock(s, now);
    expect_month(s, now);
    /* A lease half used up is renewed, so that announcements of an idle shard can go on. A full log will try again. */
    bool used_up = snowflake_ms(log_ceiling(s->log)) < now + s->options.lease_ms / 2;
    if (!s->failed && used_up && log_idle(s->log) && log_bytes(s->log) <= s->options.log_bytes_max) {
        int err = log_tick(s->log);
        if (err && err != -PARLEY_ERR_FULL && err != -PARLEY_ERR_DISK_FULL)
            shard_fail(s, err, "the log does not take a tick");
    }
    if (!s->failed)
        log_poll(s->log, clock_monotonic_ms(s->options.clock));
}

/* -- begin */

static int open_store(struct shard *s, struct log_report *report)
{
    struct store_options store = {.dir = s->options.store_dir,
                                  .cache_bytes = s->options.store_cache_bytes,
                                  .write_buffer_bytes = s->options.store_write_buffer_bytes,
                                  .space_guard_bytes = s->options.space_guard_bytes,
                                  .owner = s,
                                  .wake = on_store_done,
                                  .on_fatal = on_store_fatal};
    return store_open(&store, &s->store, report->text, sizeof report->text);
}

static int open_log(struct shard *s, struct log_report *report)
{
    struct log_options log = {.dir = s->options.log_dir,
                              .files = s->options.files,
                              .segment_bytes = s->options.segment_bytes,
                              .must_exist = s->options.must_exist,
                              .helper_thread = s->options.helper_thread,
                              .owner = s,
                              .on_durable = shard_on_durable,
                              .on_fatal = on_log_fatal,
                              .ceiling = next_ceiling};
    return log_open(&log, report, &s->log);
}

/* What the store has says from where the log is needed, and up to where there must be one. */
static int replay(struct shard *s, struct log_report *report)
{
    struct rows_position position;
    uint64_t start = log_start(s->log), end = log_end(s->log);
    int err = rows_load_position(s->store, STORE_ALL, &position);
    if (err) {
        snprintf(report->text, sizeof report->text, "the store's own position cannot be read");
        return err;
    }
    uint64_t redo = position.redo ? position.redo : 1;
    if (position.max_position >= end || redo > end) {
        snprintf(report->text, sizeof report->text,
                 "the log ends at position %llu, but the store has events up to %llu: the end of the log is "
                 "missing",
                 (unsigned long long)end - 1, (unsigned long long)position.max_position);
        return -PARLEY_ERR_LOST;
    }
    if (redo < start) {
        snprintf(report->text, sizeof report->text,
                 "the log begins at position %llu, but the store needs it from %llu: %s",
                 (unsigned long long)start, (unsigned long long)redo,
                 position.redo ? "the store is older than the log"
                               : "the store is missing; restore it from a backup, see 'parley verify'");
        return -PARLEY_ERR_LOST;
    }
    s->persisted_redo = redo;
    writeback_init(&s->writeback, &s->objects, s->store, redo, s->options.batch_bytes);
    if (redo < end)
        err = log_read(s->log, redo, end, shard_replay_record, s);
    if (err)
        snprintf(report->text, sizeof report->text, "the log could not be replayed from position %llu: %s",
                 (unsigned long long)redo, parley_err_text(err));
    return err;
}

static void free_shard(struct shard *s)
{
    rate_table_dispose(&s->user_sends);
    rate_table_dispose(&s->conversation_sends);
    memory_free(s->pending.bytes);
    memory_free(s->record);
    memory_free(s);
}

int shard_open(const struct shard_options *options, struct log_report *report, struct shard **out)
{
    struct shard *s = memory_zalloc(sizeof *s);
    if (!s)
        return -PARLEY_ERR_NOMEM;
    s->options = *options;
    s->waiting_tail = &s->waiting;
    objects_init(&s->objects, &options->dedup);
    s->record = memory_alloc(LOG_RECORD_BYTES_MAX);
    int err = s->record ? rate_table_init(&s->user_sends, options->user_sends) : -PARLEY_ERR_NOMEM;
    if (!err)
        err = rate_table_init(&s->conversation_sends, options->conversation_sends);
    if (!err)
        err = open_log(s, report);
    if (err)
        goto free;
    err = open_store(s, report);
    if (err)
        goto close_log;
    err = replay(s, report);
    if (err)
        goto close_store;
    err = derive_open(s, &s->derive);
    if (err)
        goto close_store;
    s->ceiling = report->ceiling > s->applied_id ? report->ceiling : s->applied_id;
    s->applied_id = s->ceiling;
    s->applied_ms = clock_monotonic_ms(options->clock);
    snowflake_init(&s->ids, options->number, s->ceiling);
    uint64_t ahead_ms = (uint64_t)options->lease_ms * CEILING_AHEAD_MAX;
    s->wall_ms = snowflake_ms(s->ceiling) - ahead_ms; /* the clock has said so before the start */
    *out = s;
    return 0;

close_store:
    s->failed = true;
    store_close(&s->store);
    writeback_end(&s->writeback);
    objects_clear(&s->objects);
close_log:
    log_close(&s->log);
free:
    free_shard(s);
    return err;
}

/* -- end */

static void answer_queued(struct shard *s)
{
    for (uint32_t i = 0; i < s->objects.slot_count; i++) {
        struct object *node = s->objects.slots[i];
        while (node && node->queue) {
            struct shard_request *request = node->queue;
            node->queue = request->next;
            s->queued_count--;
            shard_read_end(request);
            request->error = -PARLEY_ERR_CLOSING;
            request->done(request);
        }
        if (node) {
            node->queue_tail = &node->queue;
            shard_forget_given(node);
        }
    }
}

void shard_close(struct shard **at)
{
    struct shard *s = *at;
    *at = NULL;
    if (!s)
        return;
    s->closing = true;
    derive_stop(s);
    while (s->job_count) { /* one may be reading the log */
        if (reader_pool_poll(s->options.pool, s->options.reactor) == 0)
            usleep(JOB_WAIT_US);
    }
    log_close(&s->log); /* commits: on_durable applies and answers */
    shard_release(s, true);
    answer_queued(s);
    shard_write_back_all(s);
    store_close(&s->store);
    writeback_end(&s->writeback);
    derive_close(&s->derive);
    objects_clear(&s->objects);
    free_shard(s);
}

void shard_stop_deriving(struct shard *s)
{
    derive_stop(s);
}

/* -- questions */

static void *find(const struct shard *s, struct machine_key key)
{
    const struct object *node = objects_find(&s->objects, &key);
    return node ? node->is.any : NULL;
}

const struct conversation *shard_conversation(const struct shard *s, const struct id16 *id)
{
    return find(s, (struct machine_key){.kind = OBJECT_CONVERSATION, .id = *id});
}

const struct page *shard_page(const struct shard *s, const struct id16 *conversation, uint32_t number)
{
    return find(s, (struct machine_key){.kind = OBJECT_PAGE, .id = *conversation, .page = number});
}

uint64_t shard_log_start(const struct shard *s)
{
    return log_start(s->log);
}

uint64_t shard_log_end(const struct shard *s)
{
    return log_end(s->log);
}

uint64_t shard_derived_to(const struct shard *s, uint32_t source)
{
    return derive_offset(s, source);
}

uint64_t shard_applied_id(const struct shard *s)
{
    return s->applied_id;
}

uint32_t shard_object_count(const struct shard *s)
{
    return s->objects.count;
}

uint32_t shard_waiting_count(const struct shard *s)
{
    return s->waiting_count + s->queued_count + s->reading_count;
}

void shard_counters_read(const struct shard *s, struct shard_counters *out)
{
    *out = (struct shard_counters){.object_bytes = s->objects.bytes,
                                   .dirty_bytes = s->writeback.dirty_bytes,
                                   .dirty_objects = s->writeback.dirty_count,
                                   .log_bytes = s->log ? log_bytes(s->log) : 0,
                                   .redo = writeback_redo(&s->writeback),
                                   .persisted_redo = s->persisted_redo,
                                   .applied = s->writeback.applied,
                                   .loads = s->loads,
                                   .loads_from_disk = s->loads_from_disk,
                                   .evictions = s->evictions,
                                   .batches_written = s->writeback.batches_written,
                                   .batch_bytes_written = s->writeback.bytes_written,
                                   .flushes = s->flushes};
    if (s->log)
        log_counters_read(s->log, &out->log);
}
