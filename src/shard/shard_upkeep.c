/* Behind the commit: write-back, eviction, the persisted redo and what of the log may go. */
#include <unistd.h>

#include "src/base/error.h"
#include "src/base/logger.h"
#include "src/shard/rows.h"
#include "src/shard/shard_internal.h"

enum {
    IDLE_MS = 1000, /* without an event: then what is dirty is written though there is little of it */
    PERSISTED_EVERY_MS = 1000,
    FLUSH_EVERY_MS = 5000,
    EVICT_STEPS = 64, /* a turn, and two more for each object that came since the last */
    WAIT_US = 200,    /* where waiting is allowed: replay and close */
    TRIES_MAX = 50000 /* ten seconds there without one batch written: give up, the log has it all */
};

bool shard_log_is_long(const struct shard *s)
{
    return log_bytes(s->log) > s->options.log_bytes_max / 4 * 3;
}

/* Why more should be written now; the order of the tests is that of their cost. */
static bool wants_write_back(const struct shard *s)
{
    const struct writeback *w = &s->writeback;
    if (w->dirty_count == 0)
        return false;
    if (w->dirty_bytes > s->options.dirty_bytes_max / 2 || writeback_has_big(w))
        return true;
    if (writeback_lag_bytes(w, s->log_written) > s->options.log_bytes_max / 4)
        return true;
    if (s->evict_stuck) /* only what is dirty could still make room */
        return true;
    if (shard_log_is_long(s)) /* blocks are longer than what is in them: few events can fill it */
        return true;
    return clock_monotonic_ms(s->options.clock) - s->applied_ms > IDLE_MS;
}

static void step(struct shard *s)
{
    int err = writeback_step(&s->writeback);
    /* Out of memory, or the store's queue is full of something else: later. */
    if (err && err != -PARLEY_ERR_NOMEM && err != -PARLEY_ERR_FULL)
        shard_fail(s, err, "the store does not take a batch");
}

void shard_write_back(struct shard *s)
{
    if (!s->failed && writeback_can(&s->writeback) && wants_write_back(s))
        step(s);
}

int shard_write_back_replayed(struct shard *s)
{
    shard_write_back(s);
    store_poll(s->store);
    uint64_t written = s->writeback.batches_written;
    for (int tries = 0; !s->failed && s->writeback.dirty_bytes > s->options.dirty_bytes_max; tries++) {
        if (tries == TRIES_MAX)
            return store_pressure(s->store) == STORE_DISK_FULL ? -PARLEY_ERR_DISK_FULL : -PARLEY_ERR_IO;
        if (writeback_can(&s->writeback))
            step(s);
        usleep(WAIT_US);
        store_poll(s->store);
        if (s->writeback.batches_written != written)
            tries = 0;
        written = s->writeback.batches_written;
    }
    return s->failed ? -PARLEY_ERR_IO : 0;
}

void shard_write_back_all(struct shard *s)
{
    uint64_t written = s->writeback.batches_written;
    for (int tries = 0; !s->failed && tries < TRIES_MAX; tries++) {
        if (s->writeback.dirty_count == 0 && s->writeback.batch_count == 0)
            return;
        if (store_pressure(s->store) == STORE_DISK_FULL) /* the log keeps it until there is room */
            return;
        if (s->writeback.dirty_count && writeback_can(&s->writeback))
            step(s);
        store_poll(s->store);
        if (s->writeback.batches_written != written)
            tries = 0;
        else
            usleep(WAIT_US);
        written = s->writeback.batches_written;
    }
}

/* -- eviction */

/* Also a node whose object could not be loaded. */
static bool is_free(const struct shard *s, const struct object *node)
{
    if (node->loading || node->queue || node->dirty_from || node->flying || node->pumping ||
        node->busy_until > s->writeback.applied)
        return false;
    if (node->key.kind != OBJECT_PAGE)
        return true;
    /* The head of the conversation's queue may need this page and wait for another. */
    struct machine_key key = {.kind = OBJECT_CONVERSATION, .id = node->key.id};
    const struct object *anchor = objects_find(&s->objects, &key);
    return !anchor || !anchor->queue;
}

void shard_evict(struct shard *s)
{
    uint64_t steps = EVICT_STEPS + 2 * (s->loads - s->loads_seen), evictions = s->evictions;
    s->loads_seen = s->loads;
    for (; steps > 0 && s->objects.bytes > s->options.memory_bytes_max; steps--) {
        struct object *node = s->objects.used_oldest;
        if (!node)
            return;
        if (is_free(s, node)) {
            objects_remove(&s->objects, node);
            s->evictions++;
        } else {
            objects_used(&s->objects, node); /* not now: look at others first */
        }
    }
    s->evict_stuck = steps == 0 && s->evictions == evictions;
}

/* -- trimming */

static void run_persisted(void *owner)
{
    struct shard *s = owner;
    struct rows_position position;
    s->persisted.err = rows_load_position(s->store, STORE_PERSISTED, &position);
    s->persisted.redo = position.redo ? position.redo : 1; /* nothing was ever written back */
    if (!s->persisted.err)
        s->persisted.err = derive_load_persisted(s);
}

static void persisted_done(void *owner)
{
    struct shard *s = owner;
    s->job_count--;
    s->persisted.busy = false;
    if (s->persisted.err || s->closing)
        return;
    derive_take_persisted(s);
    if (s->asked_at > s->pressed_at) /* a flush has come between; else it presses on */
        s->pressed = false;
    s->persisted_redo = s->persisted.redo;
    uint64_t floor = derive_floor(s);
    int err = log_trim(s->log, floor < s->persisted_redo ? floor : s->persisted_redo);
    if (err && err != -PARLEY_ERR_NOMEM)
        shard_fail(s, err, "the log could not be trimmed");
}

static void run_flush(void *owner)
{
    struct shard *s = owner;
    s->flush.err = store_flush(s->store);
}

static void flush_done(void *owner)
{
    struct shard *s = owner;
    s->job_count--;
    s->flush.busy = false;
    s->flushes++;
    s->persisted.next_ms = 0; /* look at once what it has brought */
}

static void ask(struct shard *s, struct upkeep *u, void (*run)(void *), void (*done)(void *),
                uint64_t next_ms)
{
    u->job = (struct reader_job){.run = run, .done = done, .owner = s};
    u->next_ms = next_ms;
    if (reader_pool_submit(s->options.pool, s->options.reactor, READER_CONSUMER, &u->job) != 0)
        return; /* busy: next time */
    u->busy = true;
    s->job_count++;
}

/* Begun when commands are refused for it, ended when the log is no longer long: it does not flicker between. */
static void tell_full(struct shard *s, bool is_long)
{
    bool full = s->told_full ? is_long : log_bytes(s->log) > s->options.log_bytes_max;
    if (full == s->told_full)
        return;
    s->told_full = full;
    logger_line(full ? LOGGER_WARN : LOGGER_INFO, full ? "log_full_began" : "log_full_ended",
                logger_u64("shard", s->options.number), logger_u64("bytes", log_bytes(s->log)),
                logger_u64("start", log_start(s->log)), logger_u64("persisted_redo", s->persisted_redo),
                logger_u64("derived_floor", derive_floor(s)));
}

void shard_trim(struct shard *s)
{
    uint64_t now = clock_monotonic_ms(s->options.clock);
    bool behind = s->persisted_redo < writeback_redo(&s->writeback);
    bool is_long = shard_log_is_long(s);
    tell_full(s, is_long);
    /* A log that is long with nothing but ticks, or for a destination that was behind, moves no redo. */
    if ((behind || is_long || s->pressed) && !s->persisted.busy && now >= s->persisted.next_ms) {
        s->asked_at = s->flushes;
        ask(s, &s->persisted, run_persisted, persisted_done, now + PERSISTED_EVERY_MS);
    }
    /* What is written back but rests in memtables holds the log. */
    if (((behind && is_long) || s->pressed) && !s->flush.busy && now >= s->flush.next_ms)
        ask(s, &s->flush, run_flush, flush_done, now + FLUSH_EVERY_MS);
}

int shard_pressure(const struct shard *s)
{
    enum store_pressure pressure = store_pressure(s->store);
    if (pressure == STORE_DISK_FULL)
        return -PARLEY_ERR_DISK_FULL;
    if (pressure == STORE_STOP || s->writeback.dirty_bytes > s->options.dirty_bytes_max ||
        log_bytes(s->log) > s->options.log_bytes_max)
        return -PARLEY_ERR_FULL;
    return 0;
}
