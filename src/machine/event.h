/* src/machine/event.h: what an owner decides; the only thing that the log stores.
 *
 * Why:    an event is complete (ids, seq, time, facts of other objects), so that apply judges nothing and
 * reads no other object: same log, same state, on any machine, in any replay. Shape:  on disk: u8 kind, u8
 * version, then the kind's fields in the order in which event.c puts them. A record is one or more events one
 * behind the other. Owner:  decoded spans point into the decoded buffer. Errors: event_decode:
 * -PARLEY_ERR_CORRUPT. It checks every length, range and text.
 * Thread: any.
 */
#ifndef PARLEY_MACHINE_EVENT_H
#define PARLEY_MACHINE_EVENT_H

#include "src/base/base.h"
#include "src/base/bytes.h"

enum {
    USER_ID_BYTES_MAX = 64,
    DEVICE_ID_BYTES_MAX = 64,
    CLIENT_ID_BYTES_MAX = 64,
    TITLE_BYTES_MAX = 256,
    CONTENT_TYPE_BYTES_MAX = 64,
    BODY_BYTES_MAX = 512 * 1024,
    DISPLAY_NAME_BYTES_MAX = 256,
    CREATE_MEMBERS_MAX = 256,
    CREATE_PAGES_MAX = 4
};

enum event_kind {
    EVENT_TICK = 1,
    EVENT_CREATED, /* a conversation with its first members */
    EVENT_ADDED,
    EVENT_REMOVED,
    EVENT_ROLE,
    EVENT_SPLIT, /* a member page was split: carries the members that moved */
    EVENT_MESSAGE,
    EVENT_PROFILE,
    EVENT_FENCED, /* whatever the actor sends under this client id will be refused */
    EVENT_RECEIPT, /* how far a member has read, and has been delivered; no retry can change it, so it has no client id */
    EVENT_KIND_END
};

enum conversation_type { CONVERSATION_DIRECT = 1, CONVERSATION_GROUP, CONVERSATION_CHANNEL };
enum member_role { ROLE_READ_ONLY = 1, ROLE_MEMBER, ROLE_ADMIN, ROLE_OWNER };

struct event {
    enum event_kind kind;
    uint64_t id;      /* Snowflake, src/machine/snowflake.h */
    uint64_t time_ms; /* the owner's clock when it decided, ms since 1970 */
    struct id16 conversation;
    struct span actor;       /* user id of who asked */
    struct span client_id;   /* of the command: retries carry the same */
    struct id16 fingerprint; /* keyed hash of actor and client id: what dedup knows them by */
    uint64_t payload_hash;   /* of the command: another payload under the same client id is a conflict */
    /* CREATED */
    enum conversation_type type;
    struct span title;
    uint32_t page_count;
    struct span members; /* CREATED, SPLIT: encoded, see member.h */
    uint32_t member_count;
    /* ADDED, REMOVED, ROLE, RECEIPT */
    struct span target;
    struct id16 target_hash; /* PROFILE too: of the user whose profile it is */
    uint32_t page;           /* the target's, by the page_count of that moment */
    enum member_role role;
    enum member_role former; /* his role before; 0 in an ADDED: never was a member */
    /* RECEIPT: what the member has from now on */
    uint64_t read_seq, delivered_seq;
    /* SPLIT */
    uint32_t from_page, to_page;
    /* MESSAGE */
    uint64_t sender_tag; /* of the actor's hash; 0 in events of version 1 */
    uint64_t seq;
    uint64_t created_at_ms; /* original time given by a service, else 0 */
    struct span device, content_type, body;
    /* PROFILE */
    struct span display_name;
};

/* What stands for a user where the whole hash is too long; never 0. */
static inline uint64_t event_sender_tag(const struct id16 *user)
{
    uint64_t tag;
    memcpy(&tag, user->bytes, sizeof tag);
    tag = le64toh(tag);
    return tag ? tag : 1;
}

/* Never less than what event_encode writes. */
size_t event_len_max(const struct event *event);
void event_encode(struct bytes_writer *w, const struct event *event);
/* Reads one event and leaves the reader behind it. */
PARLEY_MUST_USE int event_decode(struct bytes_reader *r, struct event *event);
/* Bodies of text types must be UTF-8; others are opaque, such as ciphertext. No type means text. */
bool event_body_is_text(struct span content_type);

#endif
