/* Repair: what is derived is made again, out of the state at the logs' ends; a damaged log begins again. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "src/base/clock.h"
#include "src/base/error.h"
#include "src/verify/verify_internal.h"
#include "storage/log_begin_again.h"

enum { BATCH_BYTES = 256 << 10, LEASE_MS = 5000, WAIT_US = 500, ASIDE_MAX = 10000 };

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
        s->has_written = s->has_written || !err;
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
    int err = s->store_failed ? -PARLEY_ERR_IO : s->has_written ? store_flush(s->store) : 0;
    if (err && !s->verify->error)
        s->verify->error = err;
    store_close(&s->store);
}

/* ---- stores that are not there */

static bool can_make_store(const struct verify_shard *s)
{
    return s->store_is_gone && verify_log_has_beginning(s);
}

/* A name that nothing has yet: what was put aside before stays. */
static int put_store_aside(struct verify_shard *s, char aside[VERIFY_PATH_BYTES + 32])
{
    snprintf(aside, VERIFY_PATH_BYTES + 32, "%s.damaged", s->store_dir);
    for (int n = 2; access(aside, F_OK) == 0 && n < ASIDE_MAX; n++)
        snprintf(aside, VERIFY_PATH_BYTES + 32, "%s.damaged.%d", s->store_dir, n);
    if (access(aside, F_OK) != 0 && rename(s->store_dir, aside) == 0)
        return 0;
    snprintf(s->verify->text, VERIFY_TEXT_BYTES, "%.300s cannot be put aside: %s", s->store_dir,
             strerror(errno));
    return -PARLEY_ERR_IO;
}

static void begin_store(struct verify_shard *s)
{
    struct verify *v = s->verify;
    char aside[VERIFY_PATH_BYTES + 32] = "", text[VERIFY_TEXT_BYTES];
    if (access(s->store_dir, F_OK) == 0)
        v->error = put_store_aside(s, aside);
    if (v->error)
        return;
    v->error = verify_store_open(s, false, text, sizeof text);
    store_close(&s->store);
    if (v->error) {
        snprintf(v->text, VERIFY_TEXT_BYTES, "a new store cannot be made: %.500s", text);
        return;
    }
    if (aside[0])
        mended(v, "shard %u: the old store is kept as shard-%04u/%s", s->number, s->number,
               strrchr(aside, '/') + 1);
    mended(v, "shard %u: its store begins empty; the next start fills it from the log", s->number);
}

static bool begin_stores(struct verify *v)
{
    bool any = false;
    for (uint32_t i = 0; i < v->folder.shard_count && !v->error; i++) {
        if (!can_make_store(&v->shards[i]))
            continue;
        begin_store(&v->shards[i]);
        any = true;
    }
    return any;
}

/* ---- logs that are damaged */

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

/* Ids go on above all that anything speaks of; false when there are none. */
static bool find_ceiling(struct verify_shard *s, uint64_t *ceiling)
{
    uint64_t highest = s->log_report.seen_ceiling > s->row_id ? s->log_report.seen_ceiling : s->row_id;
    struct snowflake ids;
    snowflake_init(&ids, s->number, highest);
    *ceiling = snowflake_ceiling(&ids, clock_wall_ms(clock_real()), LEASE_MS);
    if (*ceiling > highest && verify_begins_at(s) < VERIFY_POSITION_MAX)
        return true;
    s->verify->error = -PARLEY_ERR_LIMIT;
    snprintf(
        s->verify->text, VERIFY_TEXT_BYTES,
        "shard %u: ids up to %llu and positions up to %llu are spoken of, and none can be given above them: "
        "restore a copy",
        s->number, (unsigned long long)highest, (unsigned long long)verify_begins_at(s) - 1);
    return false;
}

static void begin_log(struct verify_shard *s)
{
    struct verify *v = s->verify;
    struct log_beginning at = {.position = verify_begins_at(s)};
    uint32_t aside;
    char suffix[16] = "";
    if (!find_ceiling(s, &at.ceiling))
        return;
    log_close(&s->log);
    v->error = v->files->ops->make_dir(v->files, s->log_dir);
    if (!v->error)
        v->error = log_begin_again(v->files, s->log_dir, &s->log_report, &at, &aside);
    if (v->error)
        return;
    if (aside > 1)
        snprintf(suffix, sizeof suffix, ".%u", aside);
    mended(v,
           "shard %u: a new log begins at position %llu, and ids go on above %llu: nothing that can be read "
           "speaks "
           "of more",
           s->number, (unsigned long long)at.position, (unsigned long long)at.ceiling);
    mended(v, "shard %u: what was left of the old log is kept as shard-%04u/log/*.damaged%s", s->number,
           s->number, suffix);
    verify_tell_losses(s, true);
}

/* The epoch rises first: whoever stops behind it has one too many, and never one too few. */
static bool begin_logs(struct verify *v)
{
    bool any = false;
    for (uint32_t i = 0; i < v->folder.shard_count && !v->error; i++) {
        if (!verify_can_begin_again(&v->shards[i]))
            continue;
        if (!any)
            v->error = data_folder_raise_epoch(v->options.dir, &v->folder, v->text);
        if (v->error)
            break;
        if (!any)
            mended(v, "the folder's epoch is %llu now: clients begin anew",
                   (unsigned long long)v->folder.epoch);
        any = true;
        begin_log(&v->shards[i]);
    }
    return any;
}

/* ---- rows */

static void open_for_writing(struct verify *v)
{
    for (uint32_t i = 0; i < v->folder.shard_count && !v->error; i++) {
        struct verify_shard *s = &v->shards[i];
        if (!s->store)
            continue;
        store_close(&s->store);
        v->error = verify_store_open(s, false, v->text, VERIFY_TEXT_BYTES);
    }
}

/* Nobody knows how far it has derived: all that the pages say is put there, and it goes on at the end. */
static bool begins_anew(const struct verify_shard *source, const struct verify_shard *destination, bool begin)
{
    uint64_t offset = destination->offsets[source->number];
    if (source->log_is_foreign)
        return false;
    return (begin && verify_can_begin_again(source)) || offset < source->log_report.start;
}

static int on_large_row(void *owner, struct span key, struct span row)
{
    struct store_batch *batch = owner;
    (void)row;
    store_batch_delete(batch, (struct store_key){STORE_META, 0, key});
    return 0;
}

/* Rows that cannot be read go, and all are put again. */
static void clear_large(struct verify_shard *s)
{
    struct store_key from = {STORE_META, 0, {(const uint8_t *)"large", 5}};
    if (!s->large_unreadable || !verify_batch(s))
        return;
    (void)verify_failed(s->verify, store_scan(s->store, from, from.key.len, on_large_row, s->batch));
    large_set_clear(&s->large);
    s->mended.large++;
}

/* Derived rows anew: what differs is written. */
static void mend_rows(struct verify *v, bool begin)
{
    v->mending = true;
    for (uint32_t i = 0; i < v->folder.shard_count; i++) {
        struct verify_shard *s = &v->shards[i];
        s->expected_memberships = 0;
        s->counts = (struct verify_counts){0};
        for (uint32_t d = 0; d < v->folder.shard_count; d++)
            if (begins_anew(s, &v->shards[d], begin))
                s->bounds[d] = UINT64_MAX;
        if (s->store)
            clear_large(s);
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

static void write_position(struct verify_shard *s, bool again)
{
    uint64_t at = verify_begins_at(s);
    struct rows_position position = s->position;
    if (again)
        position = (struct rows_position){.redo = at, .max_position = at - 1};
    if (!position.redo)
        position.redo = s->log_report.start;
    if (s->row_position > position.max_position)
        position.max_position = s->row_position;
    bool raised = position.max_position > s->position.max_position;
    if ((!again && !raised && !s->position_unreadable) || !verify_batch(s))
        return;
    rows_put_position(s->batch, &position);
    s->mended.positions++;
}

static void write_offsets(struct verify_shard *source, bool begin)
{
    struct verify *v = source->verify;
    bool again = begin && verify_can_begin_again(source);
    uint64_t to = again ? verify_begins_at(source) : source->log_report.end;
    for (uint32_t d = 0; d < v->folder.shard_count; d++) {
        struct verify_shard *s = &v->shards[d];
        if (!s->store || !begins_anew(source, s, begin) || !verify_batch(s))
            continue;
        rows_put_offset(s->batch, source->number, to);
        s->mended.offsets++;
    }
}

static void tell_mended(const struct verify_shard *s)
{
    const struct verify_mended *m = &s->mended;
    const struct {
        uint64_t count;
        const char *what;
    } all[] = {{m->lists, "rows of users' lists"},
               {m->large, "rows of large conversations"},
               {m->filters, "conversations' filters of dedup"},
               {m->offsets, "offsets of derivation"},
               {m->positions, "positions of the store"}};
    for (size_t i = 0; i < PARLEY_ARRAY_COUNT(all); i++)
        if (all[i].count)
            mended(s->verify, "shard %u: made again: %s (%llu)", s->number, all[i].what,
                   (unsigned long long)all[i].count);
}

/* Objects whose filters were damaged could not follow the log's tail: a log is left alone until they can. */
static void write_all(struct verify *v, bool begin)
{
    open_for_writing(v);
    if (v->error)
        return;
    mend_rows(v, begin);
    for (uint32_t i = 0; i < v->folder.shard_count && !v->error; i++) {
        struct verify_shard *s = &v->shards[i];
        bool again = begin && verify_can_begin_again(s);
        if (!s->store)
            continue;
        if (again)
            write_objects(s);
        write_position(s, again);
        write_offsets(s, begin);
    }
    for (uint32_t i = 0; i < v->folder.shard_count; i++)
        if (v->shards[i].store)
            finish_writing(&v->shards[i]);
}

static bool has_mended(const struct verify_shard *s)
{
    const struct verify_mended *m = &s->mended;
    return m->lists || m->large || m->filters || m->offsets || m->positions;
}

bool verify_mend(struct verify *v)
{
    bool begin = v->report->counts[VERIFY_KIND_FILTER] == 0, any = false;
    if (begin_stores(v)) /* look again first */
        return true;
    for (uint32_t i = 0; i < v->folder.shard_count; i++)
        any = any || verify_can_begin_again(&v->shards[i]);
    if (v->error || (!any && verify_report_count(v->report, VERIFY_DERIVED) == 0))
        return false;
    write_all(v, begin);
    any = false;
    for (uint32_t i = 0; i < v->folder.shard_count && !v->error; i++) {
        tell_mended(&v->shards[i]);
        any = any || has_mended(&v->shards[i]);
    }
    return (begin && begin_logs(v)) || any;
}
