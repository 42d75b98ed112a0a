#include "src/server/counters.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>

#include "src/base/error.h"
#include "src/base/logger.h"
#include "src/base/memory.h"

/* X(name, where): of a shard. */
#define COUNTERS(X)                                                                                          \
    X(applied, applied)                                                                                      \
    X(redo, redo)                                                                                            \
    X(persisted_redo, persisted_redo)                                                                        \
    X(object_bytes, object_bytes)                                                                            \
    X(dirty_bytes, dirty_bytes)                                                                              \
    X(dirty_objects, dirty_objects)                                                                          \
    X(loads, loads)                                                                                          \
    X(loads_from_disk, loads_from_disk)                                                                      \
    X(evictions, evictions)                                                                                  \
    X(store_batches, batches_written)                                                                        \
    X(store_batch_bytes, batch_bytes_written)                                                                \
    X(store_flushes, flushes)                                                                                \
    X(log_kept_bytes, log_bytes)                                                                             \
    X(log_event_bytes, log.event_bytes)                                                                      \
    X(log_blocks, log.blocks)                                                                                \
    X(log_block_bytes, log.block_bytes)                                                                      \
    X(log_padding_bytes, log.padding_bytes)                                                                  \
    X(log_mark_bytes, log.mark_bytes)                                                                        \
    X(log_zeroed_bytes, log.zeroed_bytes)

/* X(name, where): of a reactor. */
#define THREAD_COUNTERS(X)                                                                                   \
    X(reactor_turns, reactor.turns)                                                                          \
    X(reactor_sleeps, reactor.sleeps)                                                                        \
    X(reactor_completions, reactor.completions)                                                              \
    X(reactor_timers_fired, reactor.timers_fired)                                                            \
    X(reactor_ring_refusals, reactor.ring_refusals)                                                          \
    X(listener_accepted, listener.accepted)                                                                  \
    X(listener_refused_cap, listener.refused_cap)                                                            \
    X(listener_refused_peer, listener.refused_peer)                                                          \
    X(listener_refused_files, listener.refused_files)                                                        \
    X(listener_pauses, listener.pauses)

enum {
#define X(name, where) COUNTER_##name,
    COUNTERS(X)
#undef X
        COUNTER_COUNT
};

enum {
#define X(name, where) THREAD_##name,
    THREAD_COUNTERS(X)
#undef X
#define X(name, text) THREAD_mailbox_##name,
        MAILBOX_COUNTERS(X)
#undef X
            THREAD_COUNT
};

enum { VALUES_MAX = (int)COUNTER_COUNT > (int)THREAD_COUNT ? (int)COUNTER_COUNT : (int)THREAD_COUNT };

struct row {
    _Atomic uint64_t values[VALUES_MAX];
};

/* Rows of one kind: the shards', the reactors'. */
struct table {
    const char *event, *number, *total; /* names: of the line, of a row's number, of how many there are */
    const char *const *names;
    size_t value_count;
    uint32_t row_count;
    struct row *rows;
};

struct counters_board {
    struct table shards, threads;
};

static const char *const shard_names[] = {
#define X(name, where) #name,
    COUNTERS(X)
#undef X
};

static const char *const thread_names[] = {
#define X(name, where) #name,
    THREAD_COUNTERS(X)
#undef X
#define X(name, text) "mailbox_" #name,
        MAILBOX_COUNTERS(X)
#undef X
};

int counters_create(uint32_t shard_count, uint32_t reactor_count, struct counters_board **out)
{
    struct counters_board *board = memory_zalloc(sizeof *board);
    if (!board)
        return -PARLEY_ERR_NOMEM;
    struct row *rows = memory_zalloc(((size_t)shard_count + reactor_count) * sizeof *rows);
    if (!rows) {
        memory_free(board);
        return -PARLEY_ERR_NOMEM;
    }
    board->shards = (struct table){.event = "shard_counters",
                                   .number = "shard",
                                   .total = "shards",
                                   .names = shard_names,
                                   .value_count = COUNTER_COUNT,
                                   .row_count = shard_count,
                                   .rows = rows};
    board->threads = (struct table){.event = "reactor_counters",
                                    .number = "reactor",
                                    .total = "reactors",
                                    .names = thread_names,
                                    .value_count = THREAD_COUNT,
                                    .row_count = reactor_count,
                                    .rows = rows + shard_count};
    *out = board;
    return 0;
}

void counters_destroy(struct counters_board **board)
{
    if (*board)
        memory_free((*board)->shards.rows);
    memory_free(*board);
    *board = NULL;
}

static struct row *row_of(struct table *table, uint32_t number)
{
    parley_assert(number < table->row_count);
    return &table->rows[number];
}

void counters_publish(struct counters_board *board, uint32_t shard, const struct shard_counters *now)
{
    struct row *row = row_of(&board->shards, shard);
#define X(name, where) atomic_store_explicit(&row->values[COUNTER_##name], now->where, memory_order_relaxed);
    COUNTERS(X)
#undef X
}

void counters_publish_thread(struct counters_board *board, uint32_t reactor,
                             const struct thread_counters *now)
{
    struct row *row = row_of(&board->threads, reactor);
#define X(name, where) atomic_store_explicit(&row->values[THREAD_##name], now->where, memory_order_relaxed);
    THREAD_COUNTERS(X)
#undef X
#define X(name, text)                                                                                        \
    atomic_store_explicit(&row->values[THREAD_mailbox_##name], now->mailbox.name, memory_order_relaxed);
    MAILBOX_COUNTERS(X)
#undef X
}

static uint64_t value_of(const struct table *table, uint32_t number, size_t counter)
{
    return atomic_load_explicit(&table->rows[number].values[counter], memory_order_relaxed);
}

static void log_table(const struct table *table)
{
    struct logger_field fields[1 + VALUES_MAX];
    for (uint32_t number = 0; number < table->row_count; number++) {
        fields[0] = logger_u64(table->number, number);
        for (size_t i = 0; i < table->value_count; i++)
            fields[1 + i] = logger_u64(table->names[i], value_of(table, number, i));
        logger_log(LOGGER_INFO, table->event, fields, 1 + table->value_count);
    }
}

void counters_log(const struct counters_board *board)
{
    log_table(&board->shards);
    log_table(&board->threads);
}

static int put_table(const struct table *table, char *out, int len)
{
    len += snprintf(out + len, COUNTERS_JSON_BYTES - (size_t)len, "%c\"%s\":%" PRIu32, len ? ',' : '{',
                    table->total, table->row_count);
    for (size_t i = 0; i < table->value_count; i++) {
        uint64_t sum = 0;
        for (uint32_t number = 0; number < table->row_count; number++)
            sum += value_of(table, number, i);
        len +=
            snprintf(out + len, COUNTERS_JSON_BYTES - (size_t)len, ",\"%s\":%" PRIu64, table->names[i], sum);
    }
    return len;
}

size_t counters_json(const struct counters_board *board, char out[COUNTERS_JSON_BYTES])
{
    int len = put_table(&board->threads, out, put_table(&board->shards, out, 0));
    len += snprintf(out + len, COUNTERS_JSON_BYTES - (size_t)len, "}");
    parley_assert(len < COUNTERS_JSON_BYTES); /* twenty digits and a name of forty letters fit for each */
    return (size_t)len;
}
_Static_assert(((int)COUNTER_COUNT + (int)THREAD_COUNT) * (20 + 40 + 4) + 64 < COUNTERS_JSON_BYTES,
               "all counters fit");
