#include "src/server/counters.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>

#include "src/base/error.h"
#include "src/base/logger.h"
#include "src/base/memory.h"

/* X(name, where) */
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

enum counter {
#define X(name, where) COUNTER_##name,
    COUNTERS(X)
#undef X
        COUNTER_COUNT
};

static const char *const names[] = {
#define X(name, where) #name,
    COUNTERS(X)
#undef X
};

struct counters_board {
    uint32_t shard_count;
    struct row {
        _Atomic uint64_t values[COUNTER_COUNT];
    } rows[];
};

int counters_create(uint32_t shard_count, struct counters_board **out)
{
    struct counters_board *board = memory_zalloc(sizeof *board + shard_count * sizeof board->rows[0]);
    if (!board)
        return -PARLEY_ERR_NOMEM;
    board->shard_count = shard_count;
    *out = board;
    return 0;
}

void counters_destroy(struct counters_board **board)
{
    memory_free(*board);
    *board = NULL;
}

void counters_publish(struct counters_board *board, uint32_t shard, const struct shard_counters *now)
{
    parley_assert(shard < board->shard_count);
    struct row *row = &board->rows[shard];
#define X(name, where) atomic_store_explicit(&row->values[COUNTER_##name], now->where, memory_order_relaxed);
    COUNTERS(X)
#undef X
}

static uint64_t value_of(const struct counters_board *board, uint32_t shard, size_t counter)
{
    return atomic_load_explicit(&board->rows[shard].values[counter], memory_order_relaxed);
}

void counters_log(const struct counters_board *board, uint32_t shard)
{
    struct logger_field fields[1 + COUNTER_COUNT];
    parley_assert(shard < board->shard_count);
    fields[0] = logger_u64("shard", shard);
    for (size_t i = 0; i < COUNTER_COUNT; i++)
        fields[1 + i] = logger_u64(names[i], value_of(board, shard, i));
    logger_log(LOGGER_INFO, "shard_counters", fields, PARLEY_ARRAY_COUNT(fields));
}

size_t counters_json(const struct counters_board *board, char out[COUNTERS_JSON_BYTES])
{
    int len = snprintf(out, COUNTERS_JSON_BYTES, "{\"shards\":%" PRIu32, board->shard_count);
    for (size_t i = 0; i < COUNTER_COUNT; i++) {
        uint64_t sum = 0;
        for (uint32_t shard = 0; shard < board->shard_count; shard++)
            sum += value_of(board, shard, i);
        len += snprintf(out + len, COUNTERS_JSON_BYTES - (size_t)len, ",\"%s\":%" PRIu64, names[i], sum);
    }
    len += snprintf(out + len, COUNTERS_JSON_BYTES - (size_t)len, "}");
    parley_assert(len < COUNTERS_JSON_BYTES); /* twenty digits and a name of thirty letters fit for each */
    return (size_t)len;
}
_Static_assert(COUNTER_COUNT *(20 + 30 + 4) + 64 < COUNTERS_JSON_BYTES, "all counters fit");
