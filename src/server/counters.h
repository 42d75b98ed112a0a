/* src/server/counters.h: what the shards have done, for operators' logs and for bench.
 *
 * Why:    shards belong to their reactors; who else wants their counters reads copies, without asking anybody.
 * Shape:  reactor, once a second -> counters_publish -> [board: relaxed atomics] -> counters_log, counters_json
 * Thread: publish: the shard's reactor; the others: any. Each value was true a moment ago, each by itself.
 * Errors: -PARLEY_ERR_NOMEM from create.
 */
#ifndef PARLEY_SERVER_COUNTERS_H
#define PARLEY_SERVER_COUNTERS_H

#include "src/base/base.h"
#include "src/shard/shard.h"

enum { COUNTERS_JSON_BYTES = 2048 };

struct counters_board;

/* Owns: the caller destroys. */
PARLEY_MUST_USE int counters_create(uint32_t shard_count, struct counters_board **out);
void counters_destroy(struct counters_board **board);
void counters_publish(struct counters_board *board, uint32_t shard, const struct shard_counters *now);
/* One line of the logger: event=shard_counters shard=N ... */
void counters_log(const struct counters_board *board, uint32_t shard);
/* An object with the sums over all shards; answers its length. */
size_t counters_json(const struct counters_board *board, char out[COUNTERS_JSON_BYTES]);

#endif
