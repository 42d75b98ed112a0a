/* tests/sim/sim_world.h: a server of several shards, its disks, stores, clock, mailboxes and network, on one thread.
 *
 * Why:    what the tests of one shard cannot show: the real shard, machine, log, write-back and derivation, all together, in any
 *         order that cores, disks and networks may bring about.
 * Shape:  device -> call [travelling] -> [inbox of the shard, bounded] -> shard_submit -> done -> [returning] -> device.
 *         A shard's question to another goes through the same inboxes, as src/server/router.c does it; its answer has room.
 *         Nothing happens by itself: sim_world_turn, _sync, _carry are each one thing that happens somewhere.
 *         A crash keeps of each disk and store what may be kept; what the process would have said is not heard.
 * Thread: one.
 */
#ifndef PARLEY_TESTS_SIM_WORLD_H
#define PARLEY_TESTS_SIM_WORLD_H

#include "net/jwt_verifier.h"
#include "src/base/clock.h"
#include "src/shard/shard.h"
#include "tests/lib/sim_file.h"
#include "tests/sim/sim_oracle.h"
#include "tests/sim/sim_store.h"

struct sim_reactor;
struct sim_session;
struct sim_typing;
struct mailbox_grid;
struct live_shared;

enum { SIM_INBOX_MAX = 64, SIM_OUTCOMES_MAX = 8, SIM_DIR_BYTES = 16 };

struct sim_world;

enum sim_phase { SIM_TRAVELLING, SIM_QUEUED, SIM_INSIDE, SIM_RETURNING, SIM_GONE };

/* One request of a device, one copy of it. */
struct sim_call {
    struct sim_call *next;
    struct sim_world *world;
    struct shard_request request;
    enum sim_phase phase;
    uint64_t number;
    uint32_t device, user, conversation;
    struct sim_op *op;           /* NULL: a read */
    const struct sim_op *wanted; /* whose message is read by its client id */
    bool altered;
    struct sim_op_text text;
    /* Of a door; `here`: its reactor is the shard's. */
    struct shard_request *door;
    struct sim_reactor *home;
    bool here, uncounted;
    uint64_t connection; /* a list that a device's connection waits for */
    /* Judged: what it may be answered, by each committed state from its arrival on. */
    int outcomes[SIM_OUTCOMES_MAX];
    uint32_t outcome_count;
    uint64_t arrival;
    uint32_t messages_then; /* reads: so many were committed */
    uint64_t read_then;     /* summaries: he had read so far */
    uint32_t listed_then;   /* lists: a bit for each conversation that must be there */
};

struct sim_shard {
    struct sim_world *world;
    uint32_t number;
    char store_dir[SIM_DIR_BYTES];
    struct sim_file *disk;
    struct reader_pool *pool;
    struct shard *shard; /* NULL while the process is down */
    struct log_report report;
    struct shard_request *inbox[SIM_INBOX_MAX];
    uint32_t inbox_count;
    struct shard_request *answers[SIM_SHARDS_MAX]; /* to its questions: it asks each source one at a time */
    uint32_t answer_count;
    /* Weather. */
    struct sim_store_odds odds;
    uint32_t late;
    enum store_pressure pressure;
    uint64_t stalled_until; /* step */
    bool astray;            /* a write of its log was or will be misdirected */
    uint64_t trimmed;       /* log_start, to count */
    uint64_t ceiling;       /* that was durable */
    uint64_t idle_since_ms, idle_turns;
    uint64_t marked; /* the log was idle long enough: its mark says that all is there up to this position */
};

struct sim_world {
    const struct sim_plan *plan;
    struct sim_random random;
    struct hash_key key;
    struct clock_manual clock;
    struct sim_user *users;
    struct sim_oracle oracle;
    struct sim_shard shards[SIM_SHARDS_MAX];
    /* The doors, while the process lives (sim_door.h), and who is connected to them (sim_session.h). */
    struct mailbox_grid *grid;
    struct live_shared *live_shared;
    struct sim_reactor *reactors;
    struct jwt_key token_key;
    struct jwt_verifier *tokens;
    struct json_reader *body_reader, *frame_reader, *inner_reader;
    struct sim_session *sessions;
    struct sim_typing *typings;
    uint64_t typing_count;
    struct sim_call *calls;
    uint32_t call_count;
    uint64_t call_numbers, arrivals, asked, ended, step;
    uint32_t queue_full, months;
    bool up, dead; /* dead: it has crashed, nobody hears it */
    bool dying;    /* a shard was told to end the process */
    bool may_die;  /* something was done to it that may make it */
    bool damaged;  /* what is on disk was damaged */
    bool rested;   /* faults have ended */
    bool refused;  /* it will not start again, and says so */
};

void sim_world_init(struct sim_world *w, const struct sim_plan *plan);
void sim_world_clear(struct sim_world *w);

/* Starts the process; false: it cannot now, or never again (refused). */
bool sim_world_start(struct sim_world *w);
/* A clean end. */
void sim_world_stop(struct sim_world *w);
/* The power is cut. */
void sim_world_crash(struct sim_world *w);

/* One turn of the shard's loop, which takes at most `take` messages from its inbox. */
void sim_world_turn(struct sim_world *w, struct sim_shard *s, uint32_t take);
/* A write of the shard's log completes. */
void sim_world_sync(struct sim_world *w, struct sim_shard *s);
/* Brings one call a step on its way; false: none is on the way. `heard` is called with the answers that reach a device. */
typedef void sim_heard_fn(void *owner, struct sim_call *call);
bool sim_world_carry(struct sim_world *w, sim_heard_fn *heard, void *owner);
void sim_world_pass(struct sim_world *w, uint64_t ms);
/* The shard's store flushes what is written. */
void sim_world_flush(struct sim_shard *s);

/* Lets no more faults come from the disks, stores and queues. */
void sim_world_calm(struct sim_world *w);
/* And again. */
void sim_world_rouse(struct sim_world *w);

/* A call that sets out; the caller fills the request's question. */
struct sim_call *sim_world_call(struct sim_world *w, uint32_t device, uint32_t user);
bool sim_world_has_call(const struct sim_world *w, uint64_t number);
/* A door's call reaches the shard: within, when that is on the door's reactor. */
void sim_world_submit(struct sim_world *w, struct sim_call *call, uint32_t shard);
/* A copy is no more on its way, and in no shard; NULL is none. */
void sim_world_copy_ended(struct sim_op *op);
/* The op's command. */
void sim_world_ask(struct sim_world *w, struct sim_op *op, bool altered);

#endif
