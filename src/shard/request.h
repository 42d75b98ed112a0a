/* src/shard/request.h: what a door asks of a shard, and how the answer comes back.
 *
 * Why:    the same for every protocol, and the same on one core and across cores.
 * Shape:  door -> request_router.submit -> owner's shard -> done (on the shard's core) -> answered (on the door's core)
 *         What is asked of a conversation goes to its shard, what is asked of a user to his (shard_request_key).
 * Owner:  the door's, from submit until `answered`: command and all that it points to must live so long. While a shard
 *         has it nobody else touches it.
 * Thread: submit on the door's core; `done` on the shard's; `answered` on the door's.
 */
#ifndef PARLEY_SHARD_REQUEST_H
#define PARLEY_SHARD_REQUEST_H

#include "src/machine/machine.h"

enum { HISTORY_LIMIT_MAX = 200, LIST_LIMIT_MAX = 200 };

/* `command` says for all of them who asks: actor, actor_hash, service; and of which conversation. */
enum shard_request_kind {
    SHARD_COMMAND, /* `command` -> id, seq, duplicate */
    SHARD_HISTORY, /* `history` -> page of messages */
    SHARD_MESSAGE, /* the message with history.from as its id, or with command.client_id from the actor when
                           that is given -> page with that one message; NOT_FOUND */
    SHARD_CONVERSATION, /* -> summary */
    SHARD_MEMBERS,      /* one page of members, number `from_page` -> page of members, next_page */
    SHARD_TYPING, /* tells the members that the actor is writing; never logged, forgotten when nobody hears it */
    SHARD_ACQUAINTED, /* may the actor read, and is command.target a member? -> 0; NOT_FOUND when he is none */
    SHARD_PRESENCE,   /* of command.target: `presence` says it, or is to be filled; in memory only */
    SHARD_LIST,       /* the actor's conversations with an id above `list_after` -> page of list entries */
    SHARD_LARGE, /* the same, but only large ones (src/shard/large_set.h): what a session follows; `list_next` */
    SHARD_PROFILE, /* of the user command.target -> page.entries is his name; NOT_FOUND when he never set one */
    SHARD_DERIVE   /* between shards only: `derive` -> page of entries, src/shard/derive.h */
};

/* Messages in rising order, at most `limit`. BEFORE: the newest with an id below `from` (0: the newest of all). AFTER:
 * the oldest above `from`. AROUND: `from` and those about it, half of them older; `from` need not exist. */
enum history_way { HISTORY_BEFORE, HISTORY_AFTER, HISTORY_AROUND };

struct history_query {
    enum history_way way;
    uint64_t from;
    uint32_t limit;
};

struct shard_page {
    uint8_t *entries; /* one behind the other; the door frees it with memory_free */
    size_t len;
    uint32_t count;
    /* There are more: BEFORE sets `older`, AFTER and lists `newer`, AROUND both. */
    bool older, newer;
};

/* How entries are encoded. Messages: as in a chunk, src/machine/chunk.h. Members: as in a page, src/machine/member.h
 * (those who left too: member_view's last interval says so). List: conversation 16, id u64 of the event that
 * made him a member. */
enum { LIST_ENTRY_BYTES = 24 };

struct conversation_summary {
    enum conversation_type type;
    enum member_role role; /* the actor's; 0 for a service that is no member */
    uint32_t members, page_count;
    uint64_t created_id, created_ms, last_seq, last_message_id;
    uint64_t read_seq, delivered_seq, unread; /* the actor's; what he sent lately he has read */
    uint16_t title_len;
    uint8_t creator_len, title[TITLE_BYTES_MAX], creator[USER_ID_BYTES_MAX];
};

/* From this offset on, what is of the destination's users; the answer covers what is below `next`. */
struct derive_question {
    uint32_t source, destination; /* shards */
    uint64_t from, persisted, next;
    bool
        behind; /* question: say at once how far there is something; answer: there may be more than below `next` */
    bool press; /* answer: what the destination has not persisted keeps the source's log long */
};

/* src/session/presence.h has the states; the shard looks at none of it. */
struct shard_presence {
    bool says; /* `device` of the target is in this state; else the rest is asked for */
    uint8_t state;
    uint64_t device, last_seen_ms, version;
};

struct shard_request {
    enum shard_request_kind kind;
    struct command command;
    struct history_query history;
    uint32_t from_page;     /* MEMBERS */
    uint32_t limit;         /* LIST: 1..LIST_LIMIT_MAX */
    struct id16 list_after; /* LIST, LARGE; zeroes: from the first */
    struct derive_question derive;
    struct shard_presence presence;
    uint64_t session; /* COMMAND: it gets an answer and therefore no live event of its own; 0: none */
    /* Out: 0 with the results of the kind, or why it is refused. */
    int error;
    bool duplicate;
    uint64_t id, seq;
    uint32_t retry_after_ms; /* COMMAND, with PARLEY_ERR_RATE */
    uint32_t next_page;      /* MEMBERS: 0: that was the last */
    struct id16 list_next;   /* LARGE, when page.newer: to be the next `list_after` */
    struct shard_page page;
    struct conversation_summary summary;
    void (*answered)(struct shard_request *request); /* exactly once, perhaps within submit */
    void *owner;
    /* The router's and the shard's own. */
    void (*done)(struct shard_request *request);
    struct shard_request *next;
    uint64_t waits_for_id, waits_for_position;
    void *reading;
    void *home;
    uint32_t shard;
    uint16_t origin;
};

/* Whose shard answers. */
static inline const struct id16 *shard_request_key(const struct shard_request *r)
{
    if (r->kind == SHARD_LIST || r->kind == SHARD_LARGE ||
        (r->kind == SHARD_COMMAND && r->command.kind == COMMAND_PROFILE))
        return &r->command.actor_hash;
    return r->kind == SHARD_PROFILE || r->kind == SHARD_PRESENCE ? &r->command.target_hash
                                                                 : &r->command.conversation;
}

/* How a door reaches the shards; one for each reactor. */
struct request_router {
    void *owner;
    struct id16 (*hash)(void *owner, const void *data, size_t len);
    uint64_t (*now_ms)(void *owner);
    void (*submit)(void *owner, struct shard_request *request);
};

#endif
