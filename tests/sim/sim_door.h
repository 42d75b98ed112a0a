/* tests/sim/sim_door.h: the reactors of the simulated server: mailboxes, live delivery and the WebSocket door.
 *
 * Why:    src/session and net/chat_ws.c, chat_follow.c and chat_resume.c as they are, over the twin of the socket (sim_socket.h),
 *         among shards that are stalled, crash and lose parcels.
 * Shape:  sim_world_turn -> sim_door_turn_begin (what devices sent, answers of shards, the mailbox) -> the shard's turn
 *         -> sim_door_turn_end (registrations, writes). What the door asks of shards are calls (sim_world.h), judged as any other.
 *         Shard n is reactor n's, mod their number. A process that ends takes all connections with it.
 * Thread: one: the real mailboxes, all bound to it.
 */
#ifndef PARLEY_TESTS_SIM_DOOR_H
#define PARLEY_TESTS_SIM_DOOR_H

#include "net/chat_ws.h"
#include "src/session/live.h"
#include "tests/sim/sim_socket.h"
#include "tests/sim/sim_world.h"

struct sim_reactor {
    struct sim_world *world;
    uint16_t number;
    struct mailbox *mailbox;
    struct live *live;
    struct chat_http chat;
    struct chat_ws door;
    struct ws_context sockets;
    struct sim_op *hearing; /* whose frame is being read; taken by the call that it makes */
};

/* The process begins, or ends: nobody of it hears anything any more. */
void sim_door_open(struct sim_world *w);
/* All connections end. Until sim_door_close shards may still answer. */
void sim_door_shut(struct sim_world *w);
void sim_door_close(struct sim_world *w);
/* The run ends. */
void sim_door_clear(struct sim_world *w);
/* A clean end is told to all who are connected. */
void sim_door_leave(struct sim_world *w);

/* A device comes, as that user. NULL: it is refused. */
struct ws_socket *sim_door_connect(struct sim_world *w, uint32_t reactor, uint32_t device, uint32_t user);

void sim_door_turn_begin(struct sim_world *w, struct sim_shard *s);
void sim_door_turn_end(struct sim_world *w, struct sim_shard *s);
/* The shards' callbacks. */
void sim_door_applied(struct sim_world *w, const struct sim_shard *s, const struct shard_effect *effect);
void sim_door_typing(struct sim_world *w, const struct sim_shard *s, const struct shard_typing *typing);
void sim_door_large_member(struct sim_world *w, const struct sim_shard *s, const struct id16 *user,
                           const struct id16 *conversation);
/* A shard has answered what a door asked. */
void sim_door_answer(struct sim_world *w, struct sim_call *call);
/* Nothing is under way between reactors, and nothing is queued for a device. */
bool sim_door_rests(const struct sim_world *w);

#endif
