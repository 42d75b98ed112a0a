/* src/server/counters.h: what shards and reactors have done, for operators' logs and for bench.
 *
 * Why:    they belong to their threads; who else wants their counters reads copies, without asking anybody.
 * Shape:  reactor, once a second -> counters_publish -> [board: relaxed atomics] -> counters_log, counters_json
 * Thread: publish: the shard's reactor, the reactor itself; the others: any. Each value was true a moment ago, each by itself.
 * Errors: -PARLEY_ERR_NOMEM from create.
 */
#ifndef PARLEY_SERVER_COUNTERS_H
#define PARLEY_SERVER_COUNTERS_H

#include "src/base/base.h"
#include "src/reactor/listener.h"
#include "src/reactor/mailbox.h"
#include "src/reactor/reactor.h"
#include "src/shard/shard.h"

enum { COUNTERS_JSON_BYTES = 4096 };

struct counters_board;

/* Owns: the caller destroys. */
PARLEY_MUST_USE int counters_create(uint32_t shard_count, uint32_t reactor_count,
                                    struct counters_board **out);
void counters_destroy(struct counters_board **board);
void counters_publish(struct counters_board *board, uint32_t shard, const struct shard_counters *now);

/* Of one reactor: turns, what its mailbox and its doors took and refused. */
struct thread_counters {
    struct reactor_counters reactor;
    struct mailbox_counters mailbox;
    struct listener_counters listener;
};
void counters_publish_thread(struct counters_board *board, uint32_t reactor,
                             const struct thread_counters *now);

/* A line of the logger for each shard, event=shard_counters shard=N ..., and each reactor, event=reactor_counters ... */
void counters_log(const struct counters_board *board);
/* An object with the sums over all shards and all reactors; answers its length. */
size_t counters_json(const struct counters_board *board, char out[COUNTERS_JSON_BYTES]);

#endif
