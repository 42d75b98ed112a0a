/* Repair: what is derived is made again, out of the state at the logs' ends; a damaged log begins again. */
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "src/base/clock.h"
#include "src/base/error.h"
#include "src/verify/verify_internal.h"
#include "storage/log_begin_again.h"

enum { BATCH_BYTES = 256 << 10, LEASE_MS = 5000, WAIT_US = 500 };

__attribute__((format(printf, 2, 3))) static void mended(const struct verify *v, const char *format, ...)
{
    char text[VERIFY_TEXT_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (v->report->on_mended)
        v->report->on_mended(v->report->owner, text);
}

/* ---- writing */

static void on_batch_written(void *owner)
{
    struct verify_shard *s = owner;
    s->batches_out--;
}

static void submit(struct verify_shard *s)
{
    int err = -PARLEY_ERR_FULL;
    while (s->batch && err == -PARLEY_ERR_FULL && !s->store_failed) {
        err = store_submit(s->store, &s->batch, on_batch_written, s);
        s->batches_out += !err;
        store_poll(s->store);
        if (err == -PARLEY_ERR_FULL)
            usleep(WAIT_US);
    }
    if (s->batch && !s->verify->error)
        s->verify->error = err;
    store_batch_destroy(&s->batch);
}

struct store_batch *verify_batch(struct verify_shard *s)
{
    if (!s->batch && store_batch_create(s->store, &s->batch) != 0)
        (void)verify_failed(s->verify, -PARLEY_ERR_NOMEM);
    return s->batch;
}

void verify_batch_turn(struct verify_shard *s)
{
    if (s->batch && store_batch_bytes(s->batch) >= BATCH_BYTES)
        submit(s);
}

static void finish_writing(struct verify_shard *s)
{
    submit(s);
    while (s->batches_out && !s->store_failed) {
        store_poll(s->store);
        usleep(WAIT_US);
    }
    int err = s->store_failed ? -PARLEY_ERR_IO : store_flush(s->store);
    if (err && !s->verify->error)
        s->verify->error = err;
    store_close(&s->store);
}

/* ---- stores that are not there */

static bool log_has_all(const struct verify_shard *s)
{
    return !s->begins_again && s->log_report.start == 1;
}

static void begin_store(struct verify_shard *s)
{
    char aside[VERIFY_PATH_BYTES + 16], text[VERIFY_TEXT_BYTES];
    snprintf(aside, sizeof aside, "%s.damaged", s->store_dir);
    if (access(s->store_dir, F_OK) == 0 && rename(s->store_dir, aside) != 0) {
        s->verify->error = -PARLEY_ERR_IO;
        return;
    }
    int err = verify_store_open(s, false, text, sizeof text);
    store_close(&s->store);
    if (err)
        s->verify->error = err;
    else
        mended(s->verify,
               "shard %u: its store begins empty; the next start fills it from the log, which has everything",
               s->number);
}

/* ---- logs that are damaged */

static uint64_t begins_at(const struct verify_shard *s)
{
    uint64_t at = s->log_report.seen_end > s->log_report.end ? s->log_report.seen_end : s->log_report.end;
    if (!s->begins_again)
        return s->log_report.end;
    if (s->position.redo > at)
        at = s->position.redo;
    if (s->position.max_position >= at)
        at = s->position.max_position + 1;
    if (s->row_position >= at)
        at = s->row_position + 1;
    for (uint32_t d = 0; d < s->verify->folder.shard_count; d++)
        if (s->verify->shards[d].offsets[s->number] > at)
            at = s->verify->shards[d].offsets[s->number];
    return at;
}

/* What is good of the log goes to the store, because the new log does not have it. */
static void write_objects(struct verify_shard *s)
{
    for (uint32_t i = 0; i < s->now.slot_count && !s->verify->error; i++) {
        const struct object *node = s->now.slots[i];
        if (!node || !node->is.any || !node->dirty_from)
            continue;
        if (verify_batch(s))
            rows_put(s->batch, node);
        verify_batch_turn(s);
    }
}

static void begin_log(struct verify_shard *s)
{
    struct verify *v = s->verify;
    const struct log_report *old = &s->log_report;
    uint64_t highest = old->seen_ceiling > s->row_id ? old->seen_ceiling : s->row_id;
    struct snowflake ids;
    snowflake_init(&ids, s->number, highest);
    struct log_beginning at = {.position = begins_at(s),
                               .ceiling = snowflake_ceiling(&ids, clock_wall_ms(clock_real()), LEASE_MS)};
    uint32_t aside;
    log_close(&s->log);
    (void)mkdir(s->log_dir, 0700);
    int err = log_begin_again(v->files, s->log_dir, old, &at, &aside);
    if (err) {
        v->error = err;
        return;
    }
    if (at.position > old->end)
        mended(v, "shard %u: the log begins again at position %llu; positions %llu to %llu are lost",
               s->number, (unsigned long long)at.position, (unsigned long long)old->end,
               (unsigned long long)at.position - 1);
    else
        mended(v,
               "shard %u: the log begins again at position %llu; no event was lost that anything speaks of",
               s->number, (unsigned long long)at.position);
    mended(v, "shard %u: ids go on above %llu; the old segments are kept as shard-%04u/log/*.damaged",
           s->number, (unsigned long long)at.ceiling, s->number);
}

/* ---- all of it */

bool verify_can_mend(const struct verify *v)
{
    bool can = verify_report_count(v->report, VERIFY_DERIVED) > 0;
    for (uint32_t i = 0; v->shards && i < v->folder.shard_count; i++)
        can = can || (v->shards[i].begins_again && v->shards[i].has_store) ||
              (v->shards[i].store_is_bad && log_has_all(&v->shards[i]));
    return can;
}

static void open_for_writing(struct verify *v)
{
    char text[VERIFY_TEXT_BYTES];
    for (uint32_t i = 0; i < v->folder.shard_count && !v->error; i++) {
        struct verify_shard *s = &v->shards[i];
        if (!s->store)
            continue;
        store_close(&s->store);
        int err = verify_store_open(s, false, text, sizeof text);
        if (err)
            v->error = err;
    }
}

static void write_meta(struct verify_shard *s, bool begin)
{
    struct verify *v = s->verify;
    bool again = begin && s->begins_again;
    uint64_t at = begins_at(s);
    struct rows_position position = {.redo = again              ? at
                                             : s->position.redo ? s->position.redo
                                                                : s->log_report.start,
                                     .max_position = again ? at - 1 : s->position.max_position};
    if (s->row_position > position.max_position)
        position.max_position = s->row_position;
    if (verify_batch(s) && (position.max_position || again))
        rows_put_position(s->batch, &position);
    for (uint32_t d = 0; d < v->folder.shard_count; d++)
        if (v->shards[d].store && verify_batch(&v->shards[d]))
            rows_put_offset(v->shards[d].batch, s->number, again ? at : s->log_report.end);
}

/* Derived rows anew: what differs is written. */
static void mend_rows(struct verify *v)
{
    v->mending = true;
    for (uint32_t i = 0; i < v->folder.shard_count; i++) {
        struct verify_shard *s = &v->shards[i];
        s->expected_memberships = 0;
        s->counts = (struct verify_counts){0};
        for (uint32_t d = 0; d < v->folder.shard_count; d++)
            s->bounds[d] = UINT64_MAX;
    }
    for (uint32_t i = 0; i < v->folder.shard_count && !v->error; i++)
        if (v->shards[i].store)
            verify_conversations(&v->shards[i]);
    for (uint32_t i = 0; i < v->folder.shard_count && !v->error; i++)
        if (v->shards[i].store) {
            verify_memberships(&v->shards[i]);
            verify_large(&v->shards[i]);
        }
    v->mending = false;
}

void verify_mend(struct verify *v)
{
    bool stores = false, begin = v->report->counts[VERIFY_KIND_FILTER] == 0, raised = false;
    for (uint32_t i = 0; i < v->folder.shard_count && !v->error; i++)
        if (v->shards[i].store_is_bad && log_has_all(&v->shards[i])) {
            begin_store(&v->shards[i]);
            stores = true;
        }
    if (stores || v->error) /* look again first */
        return;
    open_for_writing(v);
    mend_rows(v);
    /* Objects whose filters were damaged could not follow the log's tail: a log is left alone until they can. */
    for (uint32_t i = 0; i < v->folder.shard_count && !v->error; i++) {
        struct verify_shard *s = &v->shards[i];
        if (!s->store)
            continue;
        if (begin && s->begins_again)
            write_objects(s);
        write_meta(s, begin);
    }
    for (uint32_t i = 0; i < v->folder.shard_count; i++)
        if (v->shards[i].store)
            finish_writing(&v->shards[i]);
    if (v->error)
        return;
    mended(v, "lists, filters, offsets and positions are made again from what the conversations say");
    for (uint32_t i = 0; begin && i < v->folder.shard_count && !v->error; i++) {
        if (!v->shards[i].begins_again || !v->shards[i].has_store)
            continue;
        if (!raised) { /* first: whoever stops behind it has one too many, and never one too few */
            v->error = data_folder_raise_epoch(v->options.dir, &v->folder, v->text);
            if (v->error)
                return;
            mended(v, "the folder's epoch is %llu now", (unsigned long long)v->folder.epoch);
            raised = true;
        }
        begin_log(&v->shards[i]);
    }
}
