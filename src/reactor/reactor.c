/* The turn's order is what makes sleeping safe:
 * 1. The ring's fd never enters epoll: with DEFER_TASKRUN that hangs. The ring signals the mailbox's eventfd
 *    instead, and only while we sleep: awake, we look at the queue anyway.
 * 2. Before sleeping: submit, unmute the eventfd, raise the sleeping flag, full fence
 * (mailbox_prepare_sleep), then look once more. Whatever comes later writes the eventfd.
 * 3. A turn ends: completions, mailboxes and timers each take what was there when they began, or a maximum.
 */
#include "src/reactor/reactor.h"
#include "src/base/error.h"
#include "src/base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <h2o.h>
#include <liburing.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    REACTOR_MAGIC = 0x52454143,
    SLEEP_MS_MAX = 1000, /* nothing needs it; a lost wake-up would cost a second, not the server */
    COMPLETION_BATCH = 64,
    CQ_FACTOR = 4 /* completions that may wait, in ring_entries: more than submissions under way, as a rule */
};

static const uint64_t OWN_COMPLETION = 1; /* low bit of user data: a struct reactor_completion follows */

_Static_assert(_Alignof(struct reactor_completion) > 1, "the low bit is free");

struct reactor {
    uint32_t magic;
    struct reactor_options options;
    pthread_t launched; /* its creator's */
    pthread_t thread;   /* its own, for checks: the same */
    bool started, ring_ready, pinned;
    sem_t ready;
    int start_err; /* written by the thread before `ready`, read after */
    int end_err;   /* written by the thread before its end, read after */
    _Atomic bool stopping;

    h2o_evloop_t *loop;
    h2o_socket_t *wake_socket;
    struct io_uring ring;
    struct timer_wheel *timers;
    struct mailbox_handler handler;
    uint64_t now_ms;
    uint32_t client_count;
    struct reactor_ring_client clients[REACTOR_RING_CLIENT_COUNT_MAX];
    _Atomic uint64_t turns, sleeps, completions, timers_fired, ring_refusals;
};

static void check(const struct reactor *reactor)
{
    parley_assert(reactor->magic == REACTOR_MAGIC && pthread_equal(reactor->thread, pthread_self()));
}

static void count(_Atomic uint64_t *counter, uint64_t n)
{
    uint64_t value = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, value + n, memory_order_relaxed); /* one writer */
}

int reactor_create(const struct reactor_options *options, struct reactor **out)
{
    parley_assert(options->mailbox && options->clock && options->ring_entries && options->timer_work_max);
    struct reactor *reactor = memory_zalloc(sizeof *reactor);
    if (!reactor)
        return -PARLEY_ERR_NOMEM;
    reactor->magic = REACTOR_MAGIC;
    reactor->options = *options;
    if (sem_init(&reactor->ready, 0, 0) != 0) {
        memory_free(reactor);
        return -PARLEY_ERR_IO;
    }
    *out = reactor;
    return 0;
}

void reactor_destroy(struct reactor **reactor)
{
    if (!*reactor)
        return;
    parley_assert((*reactor)->magic == REACTOR_MAGIC && !(*reactor)->started);
    (*reactor)->magic = 0;
    sem_destroy(&(*reactor)->ready);
    memory_free(*reactor);
    *reactor = NULL;
}

/* The eventfd only ends the sleep: what it announces is found by the next turn. */
static void on_wake(h2o_socket_t *socket, const char *err)
{
    struct reactor *reactor = socket->data;
    (void)err;
    check(reactor);
    uint64_t value;
    ssize_t got = read(mailbox_wake_fd(reactor->options.mailbox), &value, sizeof value);
    parley_assert(got == (ssize_t)sizeof value || errno == EAGAIN || errno == EINTR);
}

static int open_ring(struct reactor *reactor)
{
    struct io_uring_params params = {
        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_COOP_TASKRUN |
                 IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_CQSIZE,
        .cq_entries = reactor->options.ring_entries * CQ_FACTOR,
    };
    if (io_uring_queue_init_params(reactor->options.ring_entries, &reactor->ring, &params) != 0)
        return -PARLEY_ERR_IO;
    reactor->ring_ready = true;
    if (io_uring_register_eventfd(&reactor->ring, mailbox_wake_fd(reactor->options.mailbox)) != 0)
        return -PARLEY_ERR_IO;
    io_uring_cq_eventfd_toggle(&reactor->ring, false);
    return 0;
}

static int open_loop(struct reactor *reactor)
{
    /* h2o closes the fds that it watches; the eventfd is the mailbox's. */
    int fd = fcntl(mailbox_wake_fd(reactor->options.mailbox), F_DUPFD_CLOEXEC, 0);
    if (fd < 0)
        return -PARLEY_ERR_IO;
    reactor->loop = h2o_evloop_create();
    reactor->wake_socket = h2o_evloop_socket_create(reactor->loop, fd, H2O_SOCKET_FLAG_DONT_READ);
    reactor->wake_socket->data = reactor;
    h2o_socket_read_start(reactor->wake_socket, on_wake);
    return 0;
}

static void pin(struct reactor *reactor)
{
    if (reactor->options.cpu == REACTOR_CPU_ANY)
        return;
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((unsigned)reactor->options.cpu, &set);
    /* A container may forbid that core: an unpinned reactor is slower, not wrong. */
    reactor->pinned = pthread_setaffinity_np(pthread_self(), sizeof set, &set) == 0;
}

static int set_up(struct reactor *reactor)
{
    const struct reactor_hooks *hooks = &reactor->options.hooks;
    pin(reactor);
    mailbox_bind(reactor->options.mailbox);
    reactor->handler = (struct mailbox_handler){
        .owner = hooks->owner, .message = hooks->on_message, .lagging = hooks->on_lagging};
    reactor->now_ms = clock_monotonic_ms(reactor->options.clock);
    int err = timer_wheel_create(reactor->now_ms, &reactor->timers);
    if (!err)
        err = open_ring(reactor);
    if (!err)
        err = open_loop(reactor);
    if (!err && hooks->on_start)
        err = hooks->on_start(hooks->owner, reactor);
    return err;
}

static void tear_down(struct reactor *reactor)
{
    if (reactor->wake_socket)
        h2o_socket_close(reactor->wake_socket);
    /* A door whose clients outlived its patience leaves its timers in the loop, and h2o asserts that there are none: the
     * loop then stays to the end of the process. */
    if (reactor->loop && h2o_linklist_is_empty(&reactor->loop->_timeouts))
        h2o_evloop_destroy(reactor->loop);
    /* libh2o keeps input buffers for the thread's next connection and has no call to give them back. */
    while (h2o_socket_buffer_prototype.allocator.cnt > 0)
        free(h2o_mem_alloc_recycle(&h2o_socket_buffer_prototype.allocator, 0));
    if (reactor->ring_ready)
        io_uring_queue_exit(&reactor->ring);
    timer_wheel_destroy(&reactor->timers);
}

static void dispatch(struct reactor *reactor, uint64_t user_data, int res)
{
    if (user_data & OWN_COMPLETION) {
        struct reactor_completion *completion =
            (struct reactor_completion *)(uintptr_t)(user_data & ~OWN_COMPLETION);
        parley_assert(completion->magic == REACTOR_COMPLETION_MAGIC);
        completion->done(completion, res);
        return;
    }
    for (uint32_t i = 0; i < reactor->client_count; i++)
        if (reactor->clients[i].complete(reactor->clients[i].owner, user_data, res))
            return;
    parley_assert(!"a completion that nobody had asked for");
}

/* Copied out first: a callback may submit, and a full queue should not wait for it. */
static void drain_completions(struct reactor *reactor)
{
    uint32_t left = io_uring_cq_ready(&reactor->ring);
    while (left > 0) {
        uint64_t user_data[COMPLETION_BATCH];
        int res[COMPLETION_BATCH];
        uint32_t n = 0;
        unsigned head;
        struct io_uring_cqe *cqe;
        io_uring_for_each_cqe(&reactor->ring, head, cqe)
        {
            user_data[n] = cqe->user_data;
            res[n] = cqe->res;
            if (++n == COMPLETION_BATCH || n == left)
                break;
        }
        io_uring_cq_advance(&reactor->ring, n);
        count(&reactor->completions, n);
        left -= n;
        for (uint32_t i = 0; i < n; i++)
            dispatch(reactor, user_data[i], res[i]);
    }
}

/* These pass: the kernel is short of something, or has completions for us first. Any other error is final. */
static bool ring_error_passes(int err)
{
    return err == -EINTR || err == -EAGAIN || err == -EBUSY;
}

static bool ring_has_work(struct reactor *reactor)
{
    unsigned flags = IO_URING_READ_ONCE(*reactor->ring.sq.kflags);
    return (flags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) || io_uring_cq_ready(&reactor->ring) ||
           io_uring_sq_ready(&reactor->ring);
}

static int32_t sleep_ms(const struct reactor *reactor)
{
    uint64_t deadline_ms = timer_wheel_next_deadline_ms(reactor->timers);
    uint64_t now_ms = clock_monotonic_ms(reactor->options.clock);
    if (deadline_ms <= now_ms)
        return 0;
    /* now_ms is rounded down, so the sleep never ends a fraction too early, to spin until the deadline. */
    uint64_t wait_ms = deadline_ms - now_ms;
    return wait_ms < SLEEP_MS_MAX ? (int32_t)wait_ms : SLEEP_MS_MAX;
}

/* Writes that ended at once, outside of h2o's loop, have their callbacks waiting in it. Polling first would sleep over them;
 * and h2o, which never polls with one waiting, would keep a socket registered for writing that writes no more, and assert. */
static bool call_back_sockets(struct reactor *reactor)
{
    if (!reactor->loop->_pending_as_client && !reactor->loop->_pending_as_server)
        return false;
    h2o_timeout__do_post_callback(reactor->loop);
    return true;
}

static int run_sockets(struct reactor *reactor, bool called_back)
{
    struct mailbox *box = reactor->options.mailbox;
    io_uring_cq_eventfd_toggle(&reactor->ring, true);
    int32_t wait_ms = 0;
    if (mailbox_prepare_sleep(box) && !ring_has_work(reactor) && !called_back && !reactor_stopping(reactor)) {
        wait_ms = sleep_ms(reactor);
        count(&reactor->sleeps, wait_ms != 0);
    }
    int failed = h2o_evloop_run(reactor->loop, wait_ms);
    int why = errno;
    io_uring_cq_eventfd_toggle(&reactor->ring, false);
    mailbox_awake(box);
    return failed && why != EINTR ? -PARLEY_ERR_IO : 0;
}

static int run_turn(struct reactor *reactor)
{
    const struct reactor_hooks *hooks = &reactor->options.hooks;
    count(&reactor->turns, 1);
    /* TASKRUN_FLAG tells when the kernel has work for this thread; without any the system call is saved. */
    int got = ring_has_work(reactor) ? io_uring_submit_and_get_events(&reactor->ring) : 0;
    if (got < 0 && !ring_error_passes(got))
        return -PARLEY_ERR_IO;
    reactor->now_ms = clock_monotonic_ms(reactor->options.clock);
    drain_completions(reactor);
    (void)mailbox_drain(reactor->options.mailbox, &reactor->handler);
    count(&reactor->timers_fired,
          timer_wheel_advance(reactor->timers, reactor->now_ms, reactor->options.timer_work_max));
    if (hooks->on_turn_end)
        hooks->on_turn_end(hooks->owner);
    bool called_back = call_back_sockets(reactor); /* what they left to do, the next turn's end does */
    mailbox_flush(reactor->options.mailbox);
    got = io_uring_submit(&reactor->ring);
    if (got < 0 && !ring_error_passes(got))
        return -PARLEY_ERR_IO;
    return run_sockets(reactor, called_back);
}

static bool finished(struct reactor *reactor)
{
    const struct reactor_hooks *hooks = &reactor->options.hooks;
    return reactor_stopping(reactor) && (!hooks->may_stop || hooks->may_stop(hooks->owner));
}

static void *run(void *arg)
{
    struct reactor *reactor = arg;
    const struct reactor_hooks *hooks = &reactor->options.hooks;
    reactor->thread = pthread_self(); /* the creator may not have stored its own yet */
    int err = set_up(reactor);
    if (err && hooks->on_start_failed)
        hooks->on_start_failed(hooks->owner, err);
    reactor->start_err = err;
    sem_post(&reactor->ready);
    if (!err) {
        while (!err && !finished(reactor))
            err = run_turn(reactor);
        if (hooks->on_stop)
            hooks->on_stop(hooks->owner);
        mailbox_flush(reactor->options.mailbox); /* the last words may be a reply */
        reactor->end_err = err;
    }
    tear_down(reactor);
    return NULL;
}

int reactor_launch(struct reactor *reactor)
{
    parley_assert(reactor->magic == REACTOR_MAGIC && !reactor->started);
    if (pthread_create(&reactor->launched, NULL, run, reactor) != 0)
        return -PARLEY_ERR_NOMEM;
    reactor->started = true;
    return 0;
}

int reactor_await(struct reactor *reactor)
{
    parley_assert(reactor->magic == REACTOR_MAGIC && reactor->started);
    while (sem_wait(&reactor->ready) != 0)
        parley_assert(errno == EINTR);
    if (reactor->start_err) {
        pthread_join(reactor->launched, NULL);
        reactor->started = false;
    }
    return reactor->start_err;
}

int reactor_start(struct reactor *reactor)
{
    int err = reactor_launch(reactor);
    return err ? err : reactor_await(reactor);
}

void reactor_stop(struct reactor *reactor)
{
    parley_assert(reactor->magic == REACTOR_MAGIC);
    atomic_store_explicit(&reactor->stopping, true, memory_order_release);
    mailbox_wake(reactor->options.mailbox);
}

int reactor_join(struct reactor *reactor)
{
    parley_assert(reactor->magic == REACTOR_MAGIC && reactor->started);
    pthread_join(reactor->launched, NULL);
    reactor->started = false;
    return reactor->end_err;
}

struct st_h2o_evloop_t *reactor_loop(struct reactor *reactor)
{
    check(reactor);
    return reactor->loop;
}

struct timer_wheel *reactor_timers(struct reactor *reactor)
{
    check(reactor);
    return reactor->timers;
}

struct mailbox *reactor_mailbox(struct reactor *reactor)
{
    return reactor->options.mailbox;
}

uint64_t reactor_now_ms(const struct reactor *reactor)
{
    check(reactor);
    return reactor->now_ms;
}

bool reactor_stopping(const struct reactor *reactor)
{
    return atomic_load_explicit(&reactor->stopping, memory_order_acquire);
}

bool reactor_pinned(const struct reactor *reactor)
{
    return reactor->pinned;
}

struct io_uring *reactor_ring(struct reactor *reactor)
{
    check(reactor);
    return &reactor->ring;
}

struct io_uring_sqe *reactor_sqe(struct reactor *reactor)
{
    check(reactor);
    struct io_uring_sqe *sqe = io_uring_get_sqe(&reactor->ring);
    if (sqe)
        return sqe;
    (void)io_uring_submit(&reactor->ring); /* an error shows in the next turn */
    sqe = io_uring_get_sqe(&reactor->ring);
    if (!sqe)
        count(&reactor->ring_refusals, 1);
    return sqe;
}

void reactor_sqe_done_by(struct io_uring_sqe *sqe, struct reactor_completion *completion)
{
    parley_assert(completion->magic == REACTOR_COMPLETION_MAGIC);
    io_uring_sqe_set_data64(sqe, (uint64_t)(uintptr_t)completion | OWN_COMPLETION);
}

int reactor_add_ring_client(struct reactor *reactor, const struct reactor_ring_client *client)
{
    check(reactor);
    if (reactor->client_count == REACTOR_RING_CLIENT_COUNT_MAX)
        return -PARLEY_ERR_FULL;
    reactor->clients[reactor->client_count++] = *client;
    return 0;
}

void reactor_counters_read(const struct reactor *reactor, struct reactor_counters *out)
{
    out->turns = atomic_load_explicit(&reactor->turns, memory_order_relaxed);
    out->sleeps = atomic_load_explicit(&reactor->sleeps, memory_order_relaxed);
    out->completions = atomic_load_explicit(&reactor->completions, memory_order_relaxed);
    out->timers_fired = atomic_load_explicit(&reactor->timers_fired, memory_order_relaxed);
    out->ring_refusals = atomic_load_explicit(&reactor->ring_refusals, memory_order_relaxed);
}
