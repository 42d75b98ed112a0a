#include "src/shard/rate_table.h"

#include <string.h>

#include "src/base/error.h"
#include "src/base/memory.h"

enum { US_PER_S = 1000000, US_PER_MS = 1000 };
_Static_assert((int)RATE_PER_S_MAX <= (int)US_PER_S, "a token takes a microsecond at least");

int rate_table_init(struct rate_table *t, struct rate rate)
{
    *t = (struct rate_table){0};
    if (rate.per_s == 0)
        return 0;
    parley_assert(rate.per_s <= RATE_PER_S_MAX && rate.burst <= RATE_BURST_MAX);
    t->step_us = US_PER_S / rate.per_s;
    t->room_us = rate.burst > 1 ? (rate.burst - 1) * t->step_us : 0;
    t->buckets = memory_zalloc((size_t)RATE_SETS * RATE_WAYS * sizeof *t->buckets);
    return t->buckets ? 0 : -PARLEY_ERR_NOMEM;
}

void rate_table_dispose(struct rate_table *t)
{
    memory_free(t->buckets);
    *t = (struct rate_table){0};
}

/* Keys are keyed hashes: a half of one says which, the other half where. */
static uint64_t tag_of(const struct id16 *key)
{
    uint64_t tag;
    memcpy(&tag, key->bytes, sizeof tag);
    return tag;
}

static struct rate_bucket *set_of(const struct rate_table *t, const struct id16 *key)
{
    uint64_t where;
    memcpy(&where, key->bytes + sizeof where, sizeof where);
    return &t->buckets[(where & (RATE_SETS - 1)) * RATE_WAYS];
}

uint32_t rate_table_wait(const struct rate_table *t, const struct id16 *key, uint64_t now_ms)
{
    if (!t->buckets)
        return 0;
    const struct rate_bucket *set = set_of(t, key);
    uint64_t tag = tag_of(key), free_us = now_ms * US_PER_MS + t->room_us;
    for (uint32_t i = 0; i < RATE_WAYS; i++)
        if (set[i].tag == tag && set[i].full_us > free_us)
            return (uint32_t)((set[i].full_us - free_us + US_PER_MS - 1) / US_PER_MS);
    return 0;
}

void rate_table_take(struct rate_table *t, const struct id16 *key, uint64_t now_ms)
{
    if (!t->buckets)
        return;
    struct rate_bucket *set = set_of(t, key), *b = &set[0];
    uint64_t tag = tag_of(key), now_us = now_ms * US_PER_MS;
    for (uint32_t i = 0; i < RATE_WAYS; i++) {
        if (set[i].tag == tag && set[i].full_us) {
            b = &set[i];
            break;
        }
        if (set[i].full_us < b->full_us)
            b = &set[i];
    }
    uint64_t from_us = b->tag == tag && b->full_us > now_us ? b->full_us : now_us;
    *b = (struct rate_bucket){tag, from_us + t->step_us};
}
