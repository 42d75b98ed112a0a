/* src/session/subscriber.h: somebody who is to hear at once of what concerns one key.
 *
 * Why:    live delivery must not know protocols: a protocol only encodes, decodes and flushes. A session subscribes to its
 *         user, to each large conversation that it follows, to whom it watches: the same thing with another key.
 * Shape:  live_join -> joined -> deliver, lag ... -> live_leave -> gone
 *         OUT -> JOINING (asks the key's reactor) -> IN -> LEAVING (tells it) -> OUT
 * Owner:  the protocol's, which embeds it; its memory must live until `gone`.
 * Thread: its reactor.
 */
#ifndef PARLEY_SESSION_SUBSCRIBER_H
#define PARLEY_SESSION_SUBSCRIBER_H

#include "src/base/base.h"

enum live_topic {
    LIVE_USER, /* the key is a user's hash: all that happens in his conversations, but for large ones */
    LIVE_CONVERSATION, /* the key is a conversation's id: what happens in it while it is a large one */
    LIVE_PRESENCE,     /* the key is a user's hash: whether he is there (presence.h) */
    LIVE_TOPIC_COUNT
};

struct subscriber;
struct live_message;

struct subscriber_ops {
    /* Once, unless it left before: 0: what is applied from now on is delivered; else -PARLEY_ERR_NOMEM. */
    void (*joined)(struct subscriber *subscriber, int err);
    /* Borrowed; live_message_take keeps it. May join and leave, itself and others; may not submit a request. */
    void (*deliver)(struct subscriber *subscriber, struct live_message *message);
    /* Of LIVE_USER: live messages for this session were lost, all of them before whatever is delivered after. May not leave,
     * but others may. */
    void (*lag)(struct subscriber *subscriber);
    /* Last call, perhaps within live_leave. */
    void (*gone)(struct subscriber *subscriber);
};

enum subscriber_state { SUBSCRIBER_OUT, SUBSCRIBER_JOINING, SUBSCRIBER_IN, SUBSCRIBER_LEAVING };

struct subscriber {
    const struct subscriber_ops *ops;
    struct id16 key;
    uint64_t session; /* its number: what this session asked for itself is not delivered to it */
    /* src/session's own. */
    struct subscriber *next, **back; /* in the table of its reactor */
    struct subscriber *next_waiting; /* until the key's reactor can be asked */
    uint8_t topic, state;
    bool asked, left; /* the question is under way; nobody wants the answer any more */
};

#endif
