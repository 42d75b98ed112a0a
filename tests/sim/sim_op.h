/* tests/sim/sim_op.h: a command that a device means to give once, and what is known about it.
 *
 * Why:    it is asked again until it is answered, so it must come out the same to the byte each time; and what clients were
 *         told is held against what the logs say.
 * Shape:  an op's text follows from its numbers. `altered` is another payload under the same client id.
 *         A new kind of command: a row in the table of sim_op.c, its texts there, its rule in sim_rules.c, what its event does
 *         in sim_oracle.c, and how often it is given in sim_device.c.
 */
#ifndef PARLEY_TESTS_SIM_OP_H
#define PARLEY_TESTS_SIM_OP_H

#include "src/base/hash.h"
#include "src/machine/machine.h"

enum { SIM_CLIENT_ID_BYTES = 16, SIM_TITLE_BYTES = 32 };

struct sim_user {
    char name[8];
    struct id16 hash;
};

/* What all ops of a kind have in common. */
struct sim_op_kind {
    const char *name;
    enum event_kind event; /* that it leads to */
    bool keyed;            /* known again by its client id */
    bool alters;           /* another payload under the same client id makes a difference */
};

struct sim_op {
    uint32_t number, user, device, conversation, target;
    enum command_kind kind;
    bool service; /* asked by a service for the user */
    enum conversation_type type;
    enum member_role role;
    uint32_t first_member, member_count; /* CREATE: users, one after the other, round and round */
    uint32_t body_len;
    uint64_t created_at_ms;           /* SEND */
    struct sim_op *of;                /* FENCE: the send whose fate is asked for */
    uint64_t read_seq, delivered_seq; /* RECEIPT */
    char client_id[SIM_CLIENT_ID_BYTES];
    /* What its device knows. */
    bool open; /* it asks until it knows */
    bool told; /* it was told id and seq */
    uint64_t id, seq;
    /* What only the simulator knows. */
    uint64_t connection; /* of its device: the last on which it was given; 0: none */
    uint32_t copies;     /* on the way to a shard, or in it */
    bool refused;        /* for good: no copy is left, and it is in no log */
    bool was_refused;
    bool was_nothing;                      /* answered without an event of its own: he was in already */
    uint64_t event_id, event_seq, ordinal; /* of its event; 0: none is committed */
    uint64_t fence_id, fence_ordinal;      /* SEND: of the event that keeps it from being sent; 0: none */
    bool forgotten;                        /* done twice, rightly: the server need not know it so long */
};

struct sim_names {
    const struct hash_key *key;
    const struct sim_user *users;
    uint32_t user_count;
};

/* Texts of one command. */
struct sim_op_text {
    struct command command;
    char title[SIM_TITLE_BYTES];
    uint8_t *body;                  /* free() */
    struct command_member *members; /* free() */
};

struct id16 sim_op_conversation(const struct sim_op *op, const struct sim_names *names);
/* All but the conversation, which the caller knows. */
void sim_op_text(const struct sim_op *op, const struct sim_names *names, bool altered,
                 struct sim_op_text *out);
void sim_op_text_end(struct sim_op_text *text);
/* Is the event, or the message, what the op asked for? */
bool sim_op_body_is(const struct sim_op *op, struct span body);
const struct sim_op_kind *sim_op_kind(enum command_kind kind);
const char *sim_op_kind_name(enum command_kind kind);
struct span sim_words(const char *text);

#endif
