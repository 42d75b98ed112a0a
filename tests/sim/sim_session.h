/* tests/sim/sim_session.h: a device's WebSocket connection, and what it keeps: a client by the protocol (docs/api.md), no more.
 *
 * Why:    live delivery promises something to a client who follows the protocol; so there must be one that does, and knows
 *         what it has.
 * Shape:  connect -> hello -> list -> resume after the last of each conversation -> live; `lag`, or a new connection: again.
 *         kept: by the device, for ever. follow: by the connection. What is wrong is found by sim_live.h.
 *         Live messages count only while the conversation is `synced`: resumed, or his from its beginning.
 * Thread: one.
 */
#ifndef PARLEY_TESTS_SIM_SESSION_H
#define PARLEY_TESTS_SIM_SESSION_H

#include "tests/sim/sim_frame.h"
#include "tests/sim/sim_socket.h"
#include "tests/sim/sim_world.h"

/* What a device has of a conversation. */
struct sim_kept {
    bool member;         /* it believes so */
    bool known;          /* it wants all above `from` */
    uint64_t from, last; /* it has all between them */
    uint8_t *has;        /* by place in the conversation: a message that it has */
    uint32_t has_max;
};

/* How a connection stands to a conversation. */
struct sim_follow {
    bool synced, resuming, wanted;
    bool asked_twice; /* before the first was answered: whether a second answer comes it cannot know */
    uint64_t message_id, event_id; /* of the last live ones */
    uint64_t sure_after; /* when it connected, or was told `lag`, events were committed up to here */
    bool touched;        /* it heard of his membership since it asked for the list */
    uint64_t watched;    /* every event above it is told, or `lag` is; 0: perhaps not */
};

struct sim_session {
    struct sim_world *world;
    uint32_t device, user;
    struct ws_socket *socket; /* NULL: not connected */
    uint64_t number;          /* of the connection, in the device's life */
    uint64_t session;         /* as hello has named it; 0: hello has not come */
    bool hello_sent;          /* by the door */
    bool list_wanted;
    uint64_t list_call; /* 0: none is under way */
    uint64_t asleep_until;
    struct sim_kept kept[SIM_CONVERSATIONS_MAX];
    struct sim_follow follow[SIM_CONVERSATIONS_MAX];
};

void sim_session_init(struct sim_world *w);
void sim_session_clear(struct sim_world *w);
/* Something that the device does: it connects, reads, asks, or loses the connection. */
void sim_session_step(struct sim_world *w, uint32_t device);
/* All that is to be done, without accidents. */
void sim_session_round(struct sim_world *w);
/* The command goes by the device's connection. False: it has none for that. */
bool sim_session_give(struct sim_world *w, struct sim_op *op);
/* It was told, on whatever way, that its own message is there. */
void sim_session_told(struct sim_world *w, const struct sim_op *op);
/* Its list has come. */
void sim_session_listed(struct sim_world *w, const struct sim_call *call);
/* All are connected and up to date, as far as they know. */
bool sim_session_rests(const struct sim_world *w);
/* All ask for their lists once more. */
void sim_session_relist(struct sim_world *w);

#endif
