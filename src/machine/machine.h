/* src/machine/machine.h: the chat machine: what a command means, decided once, by the owner.
 *
 * Why:    all rules in one pure place: same command, same objects, same ids and time: same answer; same log, same
 *         state, on any machine, in any replay.
 * Shape:  machine_needs -> (load) -> machine_decide -> (append) -> machine_decided -> (commit) -> machine_apply.
 *         Decide sees objects with their decided, uncommitted events (ahead) and judges in this order: form of the
 *         command, dedup, then everything else. Apply judges nothing and skips what an object's position covers.
 *         Events of one record have positions one after the other; positions begin at 1.
 * Thread: the shard's reactor. decide, append and decided are one turn: nothing comes between.
 * Owner:  a verdict borrows the command's texts and owns what it made: end it with verdict_clear.
 * Errors: in the verdict. On one, nothing has changed but ids that were drawn.
 */
#ifndef PARLEY_MACHINE_MACHINE_H
#define PARLEY_MACHINE_MACHINE_H

#include "src/machine/conversation.h"
#include "src/machine/page.h"
#include "src/machine/snowflake.h"
#include "src/machine/user.h"

enum {
    MACHINE_FANOUT_PAGES_MAX = 8, /* up to this many pages every event's effect needs all: who hears of it */
    /* From here on a conversation is large: who is connected while it grows follows it before events carry none. */
    MACHINE_LARGE_PAGES = MACHINE_FANOUT_PAGES_MAX / 2 + 1,
    MACHINE_KEYS_MAX = 16,
    MACHINE_EVENTS_MAX = 2,
    MACHINE_PAGES_MAX = 4 /* that one record touches */
};

enum command_kind {
    COMMAND_CREATE = 1,
    COMMAND_ADD,
    COMMAND_REMOVE,
    COMMAND_ROLE,
    COMMAND_SEND,
    COMMAND_PROFILE,
    COMMAND_FENCE, /* `client_id` of a send whose fate the actor wants to know: its id and seq, else it is fenced (seq 0) */
    COMMAND_RECEIPT /* monotonic, so it needs no client id; what says nothing new is a duplicate with id 0 */
};

struct command_member {
    struct span user;
    struct id16 hash;
    enum member_role role; /* 0: member */
};

struct command {
    enum command_kind kind;
    struct span actor;
    struct id16 actor_hash;
    bool service; /* asked with a service token, for the actor */
    struct span device, client_id;
    struct id16 conversation;
    /* CREATE */
    enum conversation_type type;
    struct span title;
    const struct command_member *members; /* the creator may be among them */
    uint32_t member_count;
    /* ADD, REMOVE, ROLE */
    struct span target;
    struct id16 target_hash;
    enum member_role role; /* ADD: 0 = member */
    /* SEND */
    struct span content_type, body;
    uint64_t created_at_ms; /* 0: now; else only with a service token */
    /* PROFILE */
    struct span display_name;
    /* RECEIPT; 0: nothing to say */
    uint64_t read_seq, delivered_seq;
};

struct hasher {
    void *owner;
    struct id16 (*hash128)(void *owner, const void *data, size_t len);
};

struct machine_limits {
    uint32_t group_members_max, channel_members_max;
    uint32_t body_bytes_max, title_bytes_max;
};

struct machine_context {
    struct snowflake *ids;
    uint64_t now_ms;
    struct machine_limits limits;
    struct hasher hasher;
};

enum object_kind { OBJECT_CONVERSATION = 1, OBJECT_PAGE, OBJECT_USER };

struct machine_key {
    enum object_kind kind;
    struct id16 id; /* of the conversation, or the user's hash */
    uint32_t page;
};

/* The loaded objects. What the store does not have is loaded as a fresh, empty object. */
struct machine_view {
    struct conversation *conversation;
    struct page **pages; /* in any order; more than needed is fine */
    uint32_t page_count;
    struct user *user; /* PROFILE: the actor */
    const struct dedup_given *given;
    uint32_t given_count;
};

enum verdict_kind {
    VERDICT_REFUSED = 1, /* `error`, negative */
    VERDICT_DUPLICATE,   /* `id`, `seq` of the first result */
    VERDICT_NEED_ROW,    /* the dedup row `need_first_id`: decide again with it */
    VERDICT_NEED_OBJECT, /* `need`: ask machine_needs again, load, decide again */
    VERDICT_EVENTS       /* append `events` as one record, then machine_decided */
};

struct verdict {
    enum verdict_kind kind;
    int error;
    uint64_t basis; /* the answer waits until this event is applied; 0: it rests on nothing uncommitted */
    uint64_t id, seq;
    uint64_t need_first_id;
    struct machine_key need;
    struct event events[MACHINE_EVENTS_MAX];
    uint32_t event_count;
    /* The machine's own from here: what the events make of pages, and memory that events point to. */
    struct verdict_page {
        struct page *page;
        struct page_members *next;
        uint32_t event; /* the last that touches it */
    } pages[MACHINE_PAGES_MAX];
    uint32_t page_count;
    uint8_t *members;
};

/* A direct conversation has the same id whoever creates it, a group or channel one per creation. */
struct id16 conversation_id_direct(const struct hasher *hasher, struct span user, struct span other);
struct id16 conversation_id_group(const struct hasher *hasher, enum conversation_type type,
                                  struct span creator, struct span client_id);

/* What dedup knows a command by. */
struct id16 machine_fingerprint(const struct hasher *hasher, struct span actor, struct span client_id);

/* Which objects the decision needs; without a conversation: that one first. Returns how many, at most
 * MACHINE_KEYS_MAX. */
uint32_t machine_needs(const struct command *command, const struct conversation *conversation,
                       struct machine_key keys[MACHINE_KEYS_MAX]);
/* Which objects an event changes. */
uint32_t machine_touches(const struct event *event, struct machine_key keys[MACHINE_KEYS_MAX]);

void machine_decide(const struct command *command, const struct machine_view *view,
                    const struct machine_context *context, struct verdict *out);
/* What became of the actor's command with that client id, if it is applied: DUPLICATE with its id and seq, NEED_ROW, or
 * REFUSED with -PARLEY_ERR_NOT_FOUND. */
void machine_recall(const struct command *command, const struct machine_view *view,
                    const struct machine_context *context, struct verdict *out);
/* The events of the verdict are appended: the first at `position`, the next behind it. Cannot fail. */
void machine_decided(const struct machine_view *view, struct verdict *verdict, uint64_t position);
void verdict_clear(struct verdict *verdict);

/* Each changes one object. Errors: -PARLEY_ERR_NOMEM, then it is as before and may be tried again;
 * -PARLEY_ERR_CORRUPT. */
PARLEY_MUST_USE int machine_apply_conversation(struct conversation *conversation, const struct event *event,
                                               uint64_t position);
PARLEY_MUST_USE int machine_apply_page(struct page *page, const struct event *event, uint64_t position);
PARLEY_MUST_USE int machine_apply_user(struct user *user, const struct event *event, uint64_t position);

#endif
