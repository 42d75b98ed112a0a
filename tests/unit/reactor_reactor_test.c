/* One reactor's thread: io_uring completions through h2o's loop, timers, clients of the ring, stopping. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/socket.h>
#include <h2o.h>
#include <liburing.h>
#include <cmocka.h>

#include "src/base/error.h"
#include "src/reactor/reactor.h"

enum { RING_ENTRIES = 8, NOP_COUNT = 1000, WRITE_COUNT = 50, WRITE_BYTES = 4096, CLIENT_USER_DATA = 0x1000 };

struct bench {
    struct reactor *reactor;
    struct reactor_completion completion;
    struct wheel_timer timer;
    uint64_t done, wanted, turn_ends, timers, client_done, timer_due_ms, stops_seen;
    int fd, start_err, failed_with;
    uint32_t ring_entries; /* 0: RING_ENTRIES */
    bool burst;
    uint8_t block[WRITE_BYTES];
    void (*begin)(struct bench *bench);
};

static struct mailbox_grid *grid;

static void submit_nop(struct bench *bench)
{
    struct io_uring_sqe *sqe = reactor_sqe(bench->reactor);
    parley_assert(sqe);
    io_uring_prep_nop(sqe);
    reactor_sqe_done_by(sqe, &bench->completion);
}

static void submit_write(struct bench *bench)
{
    struct io_uring_sqe *sqe = reactor_sqe(bench->reactor);
    parley_assert(sqe);
    memset(bench->block, (int)bench->done, sizeof bench->block);
    io_uring_prep_write(sqe, bench->fd, bench->block, sizeof bench->block, bench->done * WRITE_BYTES);
    sqe->rw_flags = RWF_DSYNC;
    reactor_sqe_done_by(sqe, &bench->completion);
}

static void on_nop(struct reactor_completion *completion, int res)
{
    struct bench *bench = (struct bench *)((char *)completion - offsetof(struct bench, completion));
    parley_assert(res == 0);
    if (++bench->done == bench->wanted)
        reactor_stop(bench->reactor);
    else if (!bench->burst)
        submit_nop(bench);
}

static void on_write(struct reactor_completion *completion, int res)
{
    struct bench *bench = (struct bench *)((char *)completion - offsetof(struct bench, completion));
    parley_assert(res == WRITE_BYTES);
    if (++bench->done == bench->wanted)
        reactor_stop(bench->reactor);
    else
        submit_write(bench);
}

static int on_start(void *owner, struct reactor *reactor)
{
    struct bench *bench = owner;
    bench->reactor = reactor;
    if (bench->begin)
        bench->begin(bench);
    return bench->start_err;
}

static void on_start_failed(void *owner, int err)
{
    ((struct bench *)owner)->failed_with = err;
}

static void on_turn_end(void *owner)
{
    ((struct bench *)owner)->turn_ends++;
}

static void run(struct bench *bench, struct reactor_counters *counters)
{
    struct mailbox_options mailbox_options = {.reactor_count = 1, .request_slots = 2, .live_slots = 2};
    assert_int_equal(mailbox_grid_create(&mailbox_options, &grid), 0);
    struct reactor *reactor = NULL;
    struct reactor_options options = {
        .mailbox = mailbox_grid_at(grid, 0),
        .clock = clock_real(),
        .cpu = REACTOR_CPU_ANY,
        .ring_entries = bench->ring_entries ? bench->ring_entries : RING_ENTRIES,
        .timer_work_max = 64,
        .hooks = {.owner = bench,
                  .on_start = on_start,
                  .on_start_failed = on_start_failed,
                  .on_turn_end = on_turn_end},
    };
    assert_int_equal(reactor_create(&options, &reactor), 0);
    int err = reactor_start(reactor);
    assert_int_equal(err, bench->start_err);
    assert_int_equal(bench->failed_with, err);
    if (!err)
        assert_int_equal(reactor_join(reactor), 0);
    reactor_counters_read(reactor, counters);
    reactor_destroy(&reactor);
    assert_null(reactor);
    mailbox_grid_destroy(&grid);
}

static void nops_come_back_one_after_another(void **state)
{
    (void)state;
    struct reactor_counters counters;
    struct bench bench = {.completion = {REACTOR_COMPLETION_MAGIC, on_nop}, .wanted = NOP_COUNT};
    bench.begin = submit_nop;
    run(&bench, &counters);
    assert_int_equal(bench.done, NOP_COUNT);
    assert_int_equal(counters.completions, NOP_COUNT);
    assert_true(bench.turn_ends > 0);
}

static void begin_burst(struct bench *bench)
{
    for (uint64_t i = 0; i < bench->wanted; i++)
        submit_nop(bench);
}

static void a_burst_larger_than_both_queues_loses_nothing(void **state)
{
    (void)state;
    struct reactor_counters counters;
    struct bench bench = {.completion = {REACTOR_COMPLETION_MAGIC, on_nop}, .wanted = NOP_COUNT};
    bench.burst = true;
    bench.begin = begin_burst;
    run(&bench, &counters);
    assert_int_equal(bench.done, NOP_COUNT);
}

static void durable_writes_wake_the_sleeping_loop(void **state)
{
    (void)state;
    char path[] = "reactor_test_XXXXXX";
    struct reactor_counters counters;
    struct bench bench = {.completion = {REACTOR_COMPLETION_MAGIC, on_write}, .wanted = WRITE_COUNT};
    bench.begin = submit_write;
    bench.fd = mkstemp(path);
    assert_true(bench.fd >= 0);
    unlink(path);
    uint64_t begun_ms = clock_monotonic_ms(clock_real());
    run(&bench, &counters);
    uint64_t took_ms = clock_monotonic_ms(clock_real()) - begun_ms;
    assert_int_equal(bench.done, WRITE_COUNT);
    /* A completion that did not wake the loop would have cost a second each. */
    assert_true(took_ms < WRITE_COUNT * 1000u / 2);
    for (int i = 0; i < WRITE_COUNT; i++) {
        uint8_t got = 0;
        assert_int_equal(pread(bench.fd, &got, 1, (off_t)i * WRITE_BYTES), 1);
        assert_int_equal(got, i);
    }
    close(bench.fd);
}

static void on_timer(struct wheel_timer *timer)
{
    struct bench *bench = (struct bench *)((char *)timer - offsetof(struct bench, timer));
    parley_assert(reactor_now_ms(bench->reactor) >= bench->timer_due_ms);
    if (++bench->timers == 5) {
        reactor_stop(bench->reactor);
        return;
    }
    bench->timer_due_ms = reactor_now_ms(bench->reactor) + 20;
    timer_wheel_add(reactor_timers(bench->reactor), timer, bench->timer_due_ms);
}

static void begin_timer(struct bench *bench)
{
    wheel_timer_init(&bench->timer, on_timer);
    bench->timer_due_ms = reactor_now_ms(bench->reactor) + 20;
    timer_wheel_add(reactor_timers(bench->reactor), &bench->timer, bench->timer_due_ms);
}

static void timers_end_the_sleep_and_do_not_spin(void **state)
{
    (void)state;
    struct reactor_counters counters;
    struct bench bench = {.begin = begin_timer};
    run(&bench, &counters);
    assert_int_equal(bench.timers, 5);
    assert_int_equal(counters.timers_fired, 5);
    assert_true(counters.turns < 200);
}

static void on_written(h2o_socket_t *socket, const char *err)
{
    struct bench *bench = socket->data;
    parley_assert(!err);
    bench->done++;
    h2o_socket_close(socket);
    reactor_stop(bench->reactor);
}

static void write_outside_of_the_loop(struct wheel_timer *timer)
{
    struct bench *bench = (struct bench *)((char *)timer - offsetof(struct bench, timer));
    h2o_socket_t *socket = h2o_evloop_socket_create(reactor_loop(bench->reactor), bench->fd, 0);
    h2o_iovec_t byte = {(char *)bench->block, 1};
    struct reactor_counters counters;
    socket->data = bench;
    h2o_socket_write(socket, &byte, 1, on_written);
    reactor_counters_read(bench->reactor, &counters);
    bench->wanted = counters.sleeps;
}

static void begin_write(struct bench *bench)
{
    wheel_timer_init(&bench->timer, write_outside_of_the_loop);
    timer_wheel_add(reactor_timers(bench->reactor), &bench->timer, reactor_now_ms(bench->reactor) + 5);
}

/* A kept connection took its next request up to a second late, when its answer had come from another core. */
static void a_write_done_at_once_does_not_wait_for_the_next_event(void **state)
{
    (void)state;
    struct reactor_counters counters;
    struct bench bench = {.begin = begin_write};
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    bench.fd = fds[0]; /* the socket closes it */
    run(&bench, &counters);
    assert_int_equal(bench.done, 1);
    assert_int_equal(counters.sleeps, bench.wanted); /* it did not sleep between the write and its callback */
    close(fds[1]);
}

static bool client_complete(void *owner, uint64_t user_data, int res)
{
    struct bench *bench = owner;
    if (user_data != CLIENT_USER_DATA)
        return false;
    parley_assert(res == 0);
    bench->client_done++;
    reactor_stop(bench->reactor);
    return true;
}

static bool client_not_mine(void *owner, uint64_t user_data, int res)
{
    (void)owner;
    (void)user_data;
    (void)res;
    return false;
}

static void begin_client(struct bench *bench)
{
    struct reactor_ring_client other = {.owner = bench, .complete = client_not_mine};
    struct reactor_ring_client mine = {.owner = bench, .complete = client_complete};
    for (int i = 0; i < REACTOR_RING_CLIENT_COUNT_MAX - 1; i++)
        parley_assert(reactor_add_ring_client(bench->reactor, &other) == 0);
    parley_assert(reactor_add_ring_client(bench->reactor, &mine) == 0);
    parley_assert(reactor_add_ring_client(bench->reactor, &other) == -PARLEY_ERR_FULL);
    struct io_uring_sqe *sqe = io_uring_get_sqe(reactor_ring(bench->reactor));
    io_uring_prep_nop(sqe);
    io_uring_sqe_set_data64(sqe, CLIENT_USER_DATA);
}

static void a_layer_that_shares_the_ring_gets_its_completions(void **state)
{
    (void)state;
    struct reactor_counters counters;
    struct bench bench = {.begin = begin_client};
    run(&bench, &counters);
    assert_int_equal(bench.client_done, 1);
}

static void a_failed_start_is_reported_and_leaves_nothing(void **state)
{
    (void)state;
    struct reactor_counters counters;
    struct bench bench = {.start_err = -PARLEY_ERR_DISK_FULL};
    run(&bench, &counters);
    assert_int_equal(counters.turns, 0);
}

static void a_ring_that_cannot_be_is_told_without_a_start(void **state)
{
    (void)state;
    struct reactor_counters counters;
    struct bench bench = {.start_err = -PARLEY_ERR_IO, .ring_entries = 1U << 31};
    run(&bench, &counters);
    assert_null(bench.reactor);
}

static bool may_stop(void *owner)
{
    struct bench *bench = owner;
    if (++bench->stops_seen < 3) {
        mailbox_wake(reactor_mailbox(bench->reactor));
        return false;
    }
    return true;
}

static void a_stop_waits_for_what_is_under_way(void **state)
{
    (void)state;
    struct mailbox_options mailbox_options = {.reactor_count = 1, .request_slots = 2, .live_slots = 2};
    assert_int_equal(mailbox_grid_create(&mailbox_options, &grid), 0);
    struct bench bench = {.done = 0};
    struct reactor *reactor = NULL;
    struct reactor_options options = {
        .mailbox = mailbox_grid_at(grid, 0),
        .clock = clock_real(),
        .cpu = 0,
        .ring_entries = RING_ENTRIES,
        .timer_work_max = 64,
        .hooks = {.owner = &bench, .on_start = on_start, .may_stop = may_stop},
    };
    assert_int_equal(reactor_create(&options, &reactor), 0);
    assert_int_equal(reactor_start(reactor), 0);
    usleep(20000); /* asleep by now: the stop must wake it */
    reactor_stop(reactor);
    reactor_stop(reactor);
    assert_int_equal(reactor_join(reactor), 0);
    assert_int_equal(bench.stops_seen, 3);
    reactor_destroy(&reactor);
    mailbox_grid_destroy(&grid);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nops_come_back_one_after_another),
        cmocka_unit_test(a_burst_larger_than_both_queues_loses_nothing),
        cmocka_unit_test(durable_writes_wake_the_sleeping_loop),
        cmocka_unit_test(timers_end_the_sleep_and_do_not_spin),
        cmocka_unit_test(a_write_done_at_once_does_not_wait_for_the_next_event),
        cmocka_unit_test(a_layer_that_shares_the_ring_gets_its_completions),
        cmocka_unit_test(a_failed_start_is_reported_and_leaves_nothing),
        cmocka_unit_test(a_ring_that_cannot_be_is_told_without_a_start),
        cmocka_unit_test(a_stop_waits_for_what_is_under_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
