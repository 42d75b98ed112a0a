/* src/session/live_message.h: an event on its way to sessions, encoded once.
 *
 * Why:    a thousand receivers on all cores share one encoding; what differs is only who receives.
 * Shape:  live_message: reference counted by all cores. live_parcel: one message for one reactor, with the users there
 *         who receive it.
 * Owner:  a parcel holds a reference; it belongs to whoever has the pointer, and changes its owner with the mailbox's
 *         message.
 * Thread: a message is constant after it is made; its count is atomic. A parcel is one thread's at a time.
 * Errors: NULL when out of memory.
 */
#ifndef PARLEY_SESSION_LIVE_MESSAGE_H
#define PARLEY_SESSION_LIVE_MESSAGE_H

#include <stdatomic.h>

#include "src/base/base.h"
#include "src/machine/event.h"

struct live_message {
    _Atomic uint32_t references;
    uint8_t kind;             /* enum event_kind; 0: of no event: a hint, with no text, or what no log has */
    bool large;               /* who hears it is to follow the conversation */
    struct id16 conversation; /* of presence: the user's hash */
    struct id16 target;       /* zeroes when the event has none */
    uint64_t id, seq;         /* seq 0: no message */
    uint64_t session;         /* has its answer and does not receive it; 0: none */
    uint32_t len;
    uint8_t bytes[]; /* as the encoder wrote it: JSON */
};

struct live_parcel {
    struct live_message *message;
    uint32_t count;
    struct id16 users[]; /* hashes */
};

/* Is the event about one member? */
bool live_has_target(const struct event *event);

/* Is it about this user? */
bool live_message_targets(const struct live_message *message, const struct id16 *user);

/* Owns: the caller holds the one reference. */
PARLEY_MUST_USE struct live_message *live_message_create(const struct event *event, uint64_t session,
                                                         struct span encoded);
/* To a user who is a member of a large conversation: his sessions are to follow it. */
PARLEY_MUST_USE struct live_message *live_message_hint(const struct id16 *conversation);
/* What no log has. */
PARLEY_MUST_USE struct live_message *live_message_passing(const struct id16 *conversation, uint64_t session,
                                                          struct span encoded);
struct live_message *live_message_take(struct live_message *message);
void live_message_release(struct live_message **message);

/* Takes a reference of its own. Room for `count_max` users, none yet. */
PARLEY_MUST_USE struct live_parcel *live_parcel_create(struct live_message *message, uint32_t count_max);
void live_parcel_destroy(struct live_parcel **parcel);

#endif
