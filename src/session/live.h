/* src/session/live.h: brings applied events to the sessions of those whom they concern, on whatever core they are.
 *
 * Why:    the owner of a conversation knows its members, the reactor of a user's shard knows on which reactors his
 *         sessions are (directory.h), and each reactor knows its sessions: no table is shared.
 * Shape:  live_publish (owner) -> one parcel for each reactor that is home to recipients -> its directory -> one parcel for
 *         each reactor with sessions of them -> its table -> deliver. The same core is a call. A large conversation's
 *         events go from the owner to each reactor that follows it, and to its followers.
 *         A parcel that finds no room is lost, and its destination learns that, in the place of the lost: `lag`.
 * Order:  events of one conversation reach a session in their order, since they all go the same way.
 * Bounds: the mailbox's live lane; registrations that find no room in the request lane wait in their subscribers.
 * Owner:  live_create and live_shared_create give the caller something to destroy; `shared` outlives every live.
 * Thread: each live on its reactor; live_shared is atomic.
 * Errors: -PARLEY_ERR_NOMEM from create. Later ones end in `lag`.
 */
#ifndef PARLEY_SESSION_LIVE_H
#define PARLEY_SESSION_LIVE_H

#include "src/machine/page.h"
#include "src/reactor/mailbox.h"
#include "src/session/live_message.h"
#include "src/session/subscriber.h"

enum { LIVE_KIND_FIRST = 0x100 }; /* mailbox messages of this kind and above come here */

struct live;
struct
    live_shared; /* how many subscribers there are, so that an event that nobody waits for costs one load */

struct live_options {
    struct mailbox *mailbox;
    uint16_t reactor_count;
    struct live_shared *shared;
    void *owner;
    /* The reactor of the shard that owns this user or conversation. */
    uint16_t (*reactor_of)(void *owner, const struct id16 *key);
    /* The text of an event: the most that it takes, and what was written into as much. */
    size_t (*room)(const struct event *event);
    size_t (*encode)(const struct event *event, uint8_t *out, size_t room);
};

PARLEY_MUST_USE int live_shared_create(uint16_t reactor_count, struct live_shared **out);
void live_shared_destroy(struct live_shared **shared);

PARLEY_MUST_USE int live_create(const struct live_options *options, struct live **out);
/* Nobody has joined any more. */
void live_destroy(struct live **live);

/* A number for a new session, unique in the life of the process. */
uint64_t live_session_number(struct live *live);
/* `ops`, `key` and `session` are set, the rest is zero. May call `joined`, but not when something is being delivered. */
void live_join(struct live *live, enum live_topic topic, struct subscriber *subscriber);
/* At any time after, once; `gone` follows, perhaps within, but not when something is being delivered. */
void live_leave(struct live *live, struct subscriber *subscriber);

/* An event that this reactor's shard has applied. `page_count` 0: the conversation is larger than what events carry.
 * `large`: those who hear of it are to follow it. */
void live_publish(struct live *live, const struct event *event, const struct page *const *pages,
                  uint32_t page_count, bool large, uint64_t session);
/* A text for those who are in, that no log has: `kind` 0 in the message. The session's own user hears it on his others. */
void live_tell_page(struct live *live, const struct id16 *conversation, const struct page *page,
                    struct span text, uint64_t session);
/* Who watches the user, of this reactor's shard, gets a message with the text, and the version as its id. */
void live_tell_watchers(struct live *live, const struct id16 *user, uint64_t version, struct span text);
/* The user, of this reactor's shard, is now a member of a conversation that is large. */
void live_tell_large(struct live *live, const struct id16 *user, const struct id16 *conversation);
void live_mailbox_message(struct live *live, const struct mailbox_message *message);
/* The mailbox's: live messages of that reactor were lost. */
void live_lagging(struct live *live, uint16_t from);
/* Once a turn: asks again what was refused. The replies that give the room back begin a turn. */
void live_turn_end(struct live *live);

#endif
