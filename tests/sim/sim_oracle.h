/* tests/sim/sim_oracle.h: what must be so, worked out a second time from the committed events alone.
 *
 * Why:    the machine must not be its own judge: the rules, roles, intervals and numbers here share no code with it but the
 *         decoding of events.
 * Shape:  each committed event of each shard, once, in order -> sim_oracle_feed: is it what somebody asked for, was it
 *         allowed (sim_rules.c), is it not there twice, do ids and seq go on? -> state, against which answers are judged.
 * Thread: one.
 */
#ifndef PARLEY_TESTS_SIM_ORACLE_H
#define PARLEY_TESTS_SIM_ORACLE_H

#include "tests/sim/sim_op.h"
#include "tests/sim/sim_plan.h"

struct sim_interval {
    uint64_t joined, left; /* left 0: still in */
};

struct sim_member {
    bool ever;
    bool listed; /* it was answered that he is in: his lists show it from then on */
    uint8_t role;
    uint64_t read_seq, delivered_seq;
    uint32_t interval_count;
    struct sim_interval intervals[MEMBER_INTERVALS_MAX];
};

struct sim_message {
    const struct sim_op *op;
    uint64_t id, seq, time_ms;
    uint64_t session; /* of the server's, that sent it; 0: none, or it was never told */
};

/* An event that is no message. */
struct sim_change {
    uint64_t id;
    enum event_kind kind;
    uint32_t user; /* whom it is about; of a creation: who made it */
    uint8_t role;
    uint64_t read_seq, delivered_seq;
    uint32_t page_count; /* of its conversation, then */
    uint64_t session;    /* as of a message */
};

struct sim_conversation {
    struct id16 id;
    uint32_t shard;
    bool exists;
    enum conversation_type type;
    const struct sim_op *creation;
    uint64_t created_id, last_id, command_count;
    uint32_t member_count, page_count; /* member_count: who is in */
    struct sim_member *members;        /* by user */
    struct sim_message *messages;
    uint32_t message_count, message_max;
    struct sim_change *changes;
    uint32_t change_count, change_max;
    bool split_due; /* the last event was an ADDED: a split may follow in its record */
    uint64_t answered_seq, answered_arrival; /* of the last first answer to a send, since the last start */
};

struct sim_profile {
    const struct sim_op *last;
    uint64_t count;
};

struct sim_log_copy {
    struct sim_logged {
        uint64_t id, hash;
    } * events; /* position 1 first */
    uint64_t count, max;
    uint64_t floor; /* ids that the running shard gives are above it: the ceiling that it found */
};

struct sim_oracle {
    struct sim_names names;
    const struct sim_plan *plan;
    struct sim_op **ops;
    uint32_t op_count, op_max;
    struct sim_conversation conversations[SIM_CONVERSATIONS_MAX];
    uint32_t conversation_count;
    struct sim_profile profiles[SIM_USERS_MAX];
    struct sim_log_copy logs[SIM_SHARDS_MAX];
};

void sim_oracle_init(struct sim_oracle *o, const struct sim_plan *plan, const struct sim_names *names);
void sim_oracle_clear(struct sim_oracle *o);

/* A new op; its numbers are the caller's to set. */
struct sim_op *sim_oracle_op(struct sim_oracle *o);
/* The conversation with the id; added when there is room. UINT32_MAX: there is none. */
uint32_t sim_oracle_conversation(struct sim_oracle *o, const struct id16 *id);
const struct sim_conversation *sim_oracle_find(const struct sim_oracle *o, const struct id16 *id);
/* UINT32_MAX: nobody. */
uint32_t sim_oracle_user(const struct sim_oracle *o, const struct id16 *hash);

/* The next committed event of the shard. `running`: decided by the shard as it runs now. */
void sim_oracle_feed(struct sim_oracle *o, uint32_t shard, const struct event *event, bool running);
/* By which session's wish the event was told. */
void sim_oracle_sent(struct sim_oracle *o, const struct event *event, uint64_t session);
/* The event at the position, found again in a log: is it the same? */
void sim_oracle_same(const struct sim_oracle *o, uint32_t shard, uint64_t position,
                     const struct event *event);

/* What the command gets if it is decided now: 0 or a negative enum parley_err. `again`: it is decided already. */
int sim_oracle_judge(const struct sim_oracle *o, const struct sim_op *op, bool altered, bool *again);
/* What its client id stands for may be forgotten: the command is perhaps taken for a new one, and perhaps it is not. */
bool sim_oracle_is_vague(const struct sim_oracle *o, const struct sim_op *op);
/* Whoever reads: 0 or a negative enum parley_err. */
int sim_oracle_may_read(const struct sim_conversation *c, uint32_t user);
/* So many commands came after it that it may be forgotten. */
bool sim_oracle_may_forget(const struct sim_oracle *o, const struct sim_op *op);
/* So many that another payload under its client id might be taken for a command of its own: nobody sends it any more. */
bool sim_oracle_half_forgotten(const struct sim_oracle *o, const struct sim_op *op);
/* The message whose id is this, or that follows: its place in the conversation, message_count when there is none. */
uint32_t sim_oracle_message_at(const struct sim_conversation *c, uint64_t id);
bool sim_member_in(const struct sim_member *m);
uint64_t sim_member_joined(const struct sim_member *m);
/* Was he in at that event, or is it the one by which he came or went? */
bool sim_member_covers(const struct sim_member *m, uint64_t id);
/* 0: he is not in. */
unsigned sim_role_in(const struct sim_conversation *c, uint32_t user);
unsigned sim_role_given(const struct sim_conversation *c, const struct sim_op *op, uint32_t target);

#endif
