/* tests/sim/sim_live.h: what a device is told on its connection, against what is committed: the checker `live`.
 *
 * Shape:  each frame, before the client takes it -> sim_live_frame: is it true, is it meant for him, does it come in order and
 *         once, and is nothing missing before it that was not told as lost? At rest: sim_live_audit.
 * Thread: one.
 */
#ifndef PARLEY_TESTS_SIM_LIVE_H
#define PARLEY_TESTS_SIM_LIVE_H

#include "tests/sim/sim_session.h"

enum { SIM_TYPINGS_MAX = 64 };

/* Somebody was typing, and these devices' users may know. */
struct sim_typing {
    uint32_t conversation, user, devices;
    uint64_t session;
};

/* The door has put hello into the connection: from here on nothing is lost silently. */
void sim_live_hello(struct sim_session *s);
void sim_live_frame(struct sim_session *s, uint32_t conversation, const struct sim_said *said);
void sim_live_typing(struct sim_world *w, const struct shard_typing *typing);
/* The device has all between `from` and `to`, but for what it sent itself and has no answer to; `what` says why it should. */
void sim_live_must_have(const struct sim_session *s, uint32_t conversation, uint64_t from, uint64_t to,
                        const char *what);
/* At rest every device has everything. */
void sim_live_audit(struct sim_world *w);

#endif
