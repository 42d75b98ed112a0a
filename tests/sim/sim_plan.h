/* tests/sim/sim_plan.h: a seed, and what follows from it: how large the world is and how often what goes wrong.
 *
 * Why:    a run is its plan, so a failing one is made smaller by changing the plan.
 * Shape:  sim_plan_draw(seed) fills everything; each part may then be set to something else (sim_main.c).
 */
#ifndef PARLEY_TESTS_SIM_PLAN_H
#define PARLEY_TESTS_SIM_PLAN_H

#include "src/base/base.h"

/* X(NAME, name, rate): how often, per 10,000 of its occasions, in a run that has it at its usual rate. */
#define SIM_FAULTS(X)                                                                                        \
    X(DROP, "drop", 600)             /* a request or an answer is lost on its way */                         \
    X(DOUBLE, "double", 800)         /* a request arrives twice */                                           \
    X(ECHO, "echo", 500)             /* an answer arrives twice */                                           \
    X(REORDER, "reorder", 5000)      /* traffic overtakes */                                                 \
    X(CUT, "cut", 100)               /* a device loses its connection */                                     \
    X(SLEEP, "sleep", 60)            /* a device does not read what it is told */                            \
    X(DEAF, "deaf", 1500)            /* a reactor does not look into its mailbox */                          \
    X(NO_MEMORY, "no-memory", 150)   /* memory runs out while an event is told */                            \
    X(AGAIN, "again", 700)           /* a device asks again for what it knows already */                     \
    X(ALTER, "alter", 2000)          /* and then with another payload under the same id */                   \
    X(CRASH, "crash", 10)            /* power is cut: what is not synced is lost or torn */                  \
    X(RECRASH, "recrash", 1500)      /* and again during recovery */                                         \
    X(RESTART, "restart", 4)         /* a clean end and start */                                             \
    X(CLOCK, "clock", 40)            /* the wall clock is set, back or forth */                              \
    X(MONTH, "month", 5)             /* another month begins */                                              \
    X(STALL, "stall", 15)            /* a shard does nothing for a while */                                  \
    X(IDLE, "idle", 30)              /* seconds go by */                                                     \
    X(WEATHER, "weather", 60)        /* the store's speed, cache and flushes change */                       \
    X(QUEUE_FULL, "queue-full", 500) /* store and reader pool refuse */                                      \
    X(PRESSURE, "pressure", 400)     /* the store is slow, stopped, or its disk is full */                   \
    X(NO_SPACE, "no-space", 400)     /* the log's disk is full */                                            \
    X(FAIL_WRITE, "fail-write", 2)   /* a write of the log fails */                                          \
    X(FAIL_SYNC, "fail-sync", 2)     /* a sync of the log fails */                                           \
    X(FLIP, "flip", 4)               /* a bit of the log rots */                                             \
    X(FLIP_LAST, "flip-last", 8)     /* a bit of the log's last block rots, and then power is cut */         \
    X(ROT, "rot", 4)                 /* a row of the store rots */                                           \
    X(MISDIRECT, "misdirect", 8)     /* a block of the log is written to a wrong place */

enum sim_fault {
#define X(name, text, rate) SIM_##name,
    SIM_FAULTS(X)
#undef X
        SIM_FAULT_COUNT
};

enum { SIM_SHARDS_MAX = 6, SIM_USERS_MAX = 1280, SIM_DEVICES_MAX = 16, SIM_CONVERSATIONS_MAX = 24 };

struct sim_plan {
    uint64_t seed;
    uint32_t steps, shards, users, devices, conversations;
    uint32_t rate[SIM_FAULT_COUNT];
    /* Sizes that the shards are opened with. */
    uint32_t segment_bytes, log_bytes_max, memory_bytes_max, dirty_bytes_max, requests_max, inbox_max;
    uint32_t dedup_entries_max, group_members_max, body_bytes_max, batch_bytes;
    uint32_t large_bodies; /* of twelve */
    uint32_t reactors, live_slots, request_slots;
    uint32_t byte_weight,
        wire_bytes; /* of connections: how much what is unread counts, and what the wire takes */
    uint32_t crowd; /* members of the first conversation, a channel, before anything else happens; 0: none */
    uint32_t services; /* so many of the devices have a service's token */
};

struct sim_random {
    uint64_t state;
};

uint64_t sim_next(struct sim_random *random);
/* Below `n`, which is not 0. */
uint32_t sim_below(struct sim_random *random, uint32_t n);
bool sim_chance(struct sim_random *random, uint32_t per_ten_thousand);

void sim_plan_draw(uint64_t seed, struct sim_plan *out);
const char *sim_fault_name(enum sim_fault fault);
/* SIM_FAULT_COUNT: there is none of that name. */
enum sim_fault sim_fault_named(const char *name);

#endif
