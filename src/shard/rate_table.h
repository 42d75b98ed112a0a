/* src/shard/rate_table.h: token buckets, one for each key that was lately busy.
 *
 * Why:    one user, or one conversation, must not take a shard from all others; and what an idle key has is nothing.
 * Shape:  a bucket is one number: when it would be full again. rate_table_wait says whether a token is there,
 *         rate_table_take takes it: a refusal for another reason, or by another table, costs none.
 *         Sets of RATE_WAYS buckets. In a full set the one that is full soonest makes room: nearly always it is full
 *         already, and nothing is lost; else its key begins with a full bucket.
 * Owner:  rate_table_init gives the caller something to dispose of.
 * Thread: its reactor.
 * Errors: -PARLEY_ERR_NOMEM from init.
 */
#ifndef PARLEY_SHARD_RATE_TABLE_H
#define PARLEY_SHARD_RATE_TABLE_H

#include "src/base/base.h"

enum { RATE_WAYS = 4, RATE_SETS = 2048 }; /* a power of two */
enum { RATE_PER_S_MAX = 1000000, RATE_BURST_MAX = 1000000 };

struct rate {
    uint32_t per_s; /* 0: no limit */
    uint32_t burst; /* tokens of a full bucket; below 1 is 1 */
};

struct rate_bucket {
    uint64_t tag;     /* of its key, a keyed hash */
    uint64_t full_us; /* 0: nobody's */
};

struct rate_table {
    struct rate_bucket *buckets; /* NULL: no limit */
    uint64_t step_us, room_us;   /* one token's; all but one token's */
};

PARLEY_MUST_USE int rate_table_init(struct rate_table *table, struct rate rate);
void rate_table_dispose(struct rate_table *table);
/* 0: there is a token; else how many ms until there is one. `now_ms` does not step back. */
uint32_t rate_table_wait(const struct rate_table *table, const struct id16 *key, uint64_t now_ms);
/* Takes a token that is there. */
void rate_table_take(struct rate_table *table, const struct id16 *key, uint64_t now_ms);

#endif
