#include "src/machine/snowflake.h"

enum { SHARD_BITS = 10, COUNTER_BITS = 12, LOW_BITS = SHARD_BITS + COUNTER_BITS };
#define LOW_MASK ((1ull << LOW_BITS) - 1)
#define COUNTER_MASK ((1ull << COUNTER_BITS) - 1)
_Static_assert(SNOWFLAKE_SHARDS_MAX == 1 << SHARD_BITS, "a shard's number fits its bits");

static uint64_t since_epoch(uint64_t now_ms)
{
    return now_ms > SNOWFLAKE_EPOCH_MS ? now_ms - SNOWFLAKE_EPOCH_MS : 0;
}

static uint64_t first_of(uint64_t ms, uint32_t shard)
{
    return ms << LOW_BITS | (uint64_t)shard << COUNTER_BITS;
}

void snowflake_init(struct snowflake *s, uint32_t shard, uint64_t ceiling)
{
    parley_assert(shard < SNOWFLAKE_SHARDS_MAX);
    *s = (struct snowflake){.last = ceiling, .shard = shard};
}

uint64_t snowflake_next(struct snowflake *s, uint64_t now_ms)
{
    uint64_t ms = since_epoch(now_ms), last_ms = s->last >> LOW_BITS;
    uint64_t first = first_of(last_ms, s->shard);
    if (ms > last_ms)
        s->last = first_of(ms, s->shard);
    else if (s->last < first)
        s->last = first;
    else if (s->last >= (first | COUNTER_MASK))
        s->last = first_of(last_ms + 1, s->shard);
    else
        s->last++;
    return s->last;
}

uint64_t snowflake_announce(struct snowflake *s, uint64_t now_ms, uint64_t durable_ceiling)
{
    uint64_t whole = (durable_ceiling + 1) >> LOW_BITS; /* ms up to here are covered to their end */
    if (whole == 0)
        return 0;
    uint64_t now = since_epoch(now_ms), last_ms = s->last >> LOW_BITS;
    uint64_t ms = now > last_ms + 1 ? now - 1 : last_ms;
    if (ms > whole - 1)
        ms = whole - 1;
    uint64_t own_last = first_of(ms, s->shard) | COUNTER_MASK;
    if (s->last < own_last)
        s->last = own_last;
    return ms << LOW_BITS | LOW_MASK;
}

uint64_t snowflake_ceiling(const struct snowflake *s, uint64_t now_ms, uint64_t lease_ms)
{
    uint64_t ms = since_epoch(now_ms), last_ms = s->last >> LOW_BITS;
    return ((ms > last_ms ? ms : last_ms) + lease_ms) << LOW_BITS | LOW_MASK;
}

uint64_t snowflake_ms(uint64_t id)
{
    return (id >> LOW_BITS) + SNOWFLAKE_EPOCH_MS;
}

uint32_t snowflake_shard(uint64_t id)
{
    return (uint32_t)(id >> COUNTER_BITS) & (SNOWFLAKE_SHARDS_MAX - 1);
}

/* Days to a civil date, in years that begin in March, so that the leap day is the last (H. Hinnant, "days").
 */
uint32_t snowflake_month(uint64_t id)
{
    uint64_t days = snowflake_ms(id) / 86400000 + 719468; /* since 0000-03-01 */
    uint64_t era = days / 146097, day = days % 146097;
    uint64_t year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
    uint64_t of_year = day - (365 * year + year / 4 - year / 100);
    uint64_t month = (5 * of_year + 2) / 153; /* 0 is March */
    year += era * 400 + (month >= 10 ? 1 : 0);
    return (uint32_t)(year * 12 + (month + 2) % 12);
}
