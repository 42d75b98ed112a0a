/* src/machine/snowflake.h: event ids: 41 bits ms since 2020-01-01, 10 bits shard, 12 bits counter.
 *
 * Why:    ids of a shard rise strictly, over restarts and clocks that step back; everything that pages or
 * catches up orders by them. ms = max(last id, last announcement, now); a full counter advances it.
 * Thread: its shard's reactor; what only reads an id: any.
 */
#ifndef PARLEY_MACHINE_SNOWFLAKE_H
#define PARLEY_MACHINE_SNOWFLAKE_H

#include "src/base/base.h"

#define SNOWFLAKE_EPOCH_MS 1577836800000ull
enum { SNOWFLAKE_SHARDS_MAX = 1024 };

struct snowflake {
    uint64_t last; /* the highest id given or announced */
    uint32_t shard;
};

/* Starts above `ceiling`: whatever was promised or given before is below it. */
void snowflake_init(struct snowflake *s, uint32_t shard, uint64_t ceiling);
uint64_t snowflake_next(struct snowflake *s, uint64_t now_ms);
/* Promises that no later id of this shard is at or below the answer; never above `durable_ceiling`. */
uint64_t snowflake_announce(struct snowflake *s, uint64_t now_ms, uint64_t durable_ceiling);
/* The ceiling for a block sealed now: covers `last`, and the next `lease_ms` of an idle shard. */
uint64_t snowflake_ceiling(const struct snowflake *s, uint64_t now_ms, uint64_t lease_ms);
uint64_t snowflake_ms(uint64_t id); /* since 1970 */
uint32_t snowflake_shard(uint64_t id);
uint32_t snowflake_month(uint64_t id); /* year * 12 + month - 1, UTC */

#endif
