/* src/reactor/reactor.h: one pinned thread that runs an h2o event loop and an io_uring ring.
 *
 * Why:    sockets are libh2o's business, durable writes are io_uring's; one thread owns both, and sleeps
 * once. Shape:  each turn: completions -> mailboxes -> timers -> on_turn_end -> wake peers -> submit -> sleep
 * in h2o Thread: create, start, stop, join and destroy from outside (stop from any thread); everything else,
 * and all hooks, on the reactor's own thread, asserted. Errors: 0 or -PARLEY_ERR_NOMEM / -PARLEY_ERR_IO; on
 * error nothing has changed.
 */
#ifndef PARLEY_REACTOR_REACTOR_H
#define PARLEY_REACTOR_REACTOR_H

#include "src/base/base.h"
#include "src/base/clock.h"
#include "src/reactor/mailbox.h"
#include "src/reactor/timer_wheel.h"

struct io_uring;
struct io_uring_sqe;
struct reactor;
struct st_h2o_evloop_t;

enum { REACTOR_RING_CLIENT_COUNT_MAX = 8, REACTOR_CPU_ANY = -1 };

struct reactor_hooks {
    void *owner;
    /* First call on the thread: make here what belongs to it. An error ends the thread; start returns it. */
    int (*on_start)(void *owner, struct reactor *reactor);
    /* Then this is the last: on_start has failed, or something before it. May be NULL. */
    void (*on_start_failed)(void *owner, int err);
    /* Mailbox messages and losses; see mailbox.h. `on_message` may be NULL when there is one reactor. */
    void (*on_message)(void *owner, const struct mailbox_message *message);
    void (*on_lagging)(void *owner, uint16_t from);
    /* After all input of a turn: seal a log block, flush sockets. What it sends and submits leaves this turn.
     */
    void (*on_turn_end)(void *owner);
    /* After reactor_stop, once a turn: true when nothing is under way any more. NULL: stop at once. */
    bool (*may_stop)(void *owner);
    /* Last call on the thread. Sockets of the loop are closed here. */
    void (*on_stop)(void *owner);
};

struct reactor_options {
    struct mailbox *mailbox;          /* its index is the reactor's; outlives the reactor */
    const struct clock_source *clock; /* outlives the reactor */
    struct reactor_hooks hooks;
    int cpu;                 /* pinned to it, or REACTOR_CPU_ANY */
    uint32_t ring_entries;   /* submissions between two submits, a power of two */
    uint32_t timer_work_max; /* timer steps a turn */
};

/* Owns: the caller destroys. */
PARLEY_MUST_USE int reactor_create(const struct reactor_options *options, struct reactor **out);
/* Joined, or never started. */
void reactor_destroy(struct reactor **reactor);
/* Its thread begins. reactor_await returns when on_start has, with its error; then the thread has ended. */
PARLEY_MUST_USE int reactor_launch(struct reactor *reactor);
PARLEY_MUST_USE int reactor_await(struct reactor *reactor);
/* Both. */
PARLEY_MUST_USE int reactor_start(struct reactor *reactor);
/* From any thread, more than once if need be. */
void reactor_stop(struct reactor *reactor);
/* Returns when the thread has ended. 0, or what ended it: -PARLEY_ERR_IO when the ring or epoll failed. */
PARLEY_MUST_USE int reactor_join(struct reactor *reactor);

struct st_h2o_evloop_t *reactor_loop(struct reactor *reactor);
struct timer_wheel *reactor_timers(struct reactor *reactor);
struct mailbox *reactor_mailbox(struct reactor *reactor);
/* Monotonic time when this turn began: one reading a turn is enough for timers. */
uint64_t reactor_now_ms(const struct reactor *reactor);
bool reactor_stopping(const struct reactor *reactor);
bool reactor_pinned(const struct reactor *reactor);

/* io_uring, own requests: embed a completion, take a submission, mark it. */
enum { REACTOR_COMPLETION_MAGIC = 0x434f4d50 };

struct reactor_completion {
    uint32_t magic; /* REACTOR_COMPLETION_MAGIC */
    void (*done)(struct reactor_completion *completion, int res);
};

/* NULL when the ring stays full even after a submit: treat as -PARLEY_ERR_FULL. It goes out at the turn's
 * end. */
PARLEY_MUST_USE struct io_uring_sqe *reactor_sqe(struct reactor *reactor);
/* `completion` lives until `done` was called, once. */
void reactor_sqe_done_by(struct io_uring_sqe *sqe, struct reactor_completion *completion);

/* io_uring, whole layers that share the ring, such as storage's file layer. Their user data is an aligned
 * pointer (even). `complete` answers whether the completion is theirs; each one must be somebody's.
 * -PARLEY_ERR_FULL: more than REACTOR_RING_CLIENT_COUNT_MAX. The client outlives the thread. */
struct reactor_ring_client {
    void *owner;
    bool (*complete)(void *owner, uint64_t user_data, int res);
};

struct io_uring *reactor_ring(struct reactor *reactor);
PARLEY_MUST_USE int reactor_add_ring_client(struct reactor *reactor,
                                            const struct reactor_ring_client *client);

/* From any thread; each value was true a moment ago. */
struct reactor_counters {
    uint64_t turns, sleeps, completions, timers_fired, ring_refusals;
};
void reactor_counters_read(const struct reactor *reactor, struct reactor_counters *out);

#endif
