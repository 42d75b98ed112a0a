/* A wake-up is never lost: real threads that block for ever between messages. A lost one hangs the test. */
#include <setjmp.h>
#include <stdarg.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <unistd.h>
#include <cmocka.h>

#include "src/base/clock.h"
#include "src/reactor/mailbox.h"
#include "src/reactor/reactor.h"

enum {
    ROUND_COUNT = 10000,
    BURST_COUNT_MAX = 5,
    SLOW_ROUND_MS = 900,
    SLOW_ROUND_COUNT_MAX = 3,
    DUEL_COUNT = 100000,
    SPIN_COUNT_MAX = 1000,
    AIM_MAX = 100
};

struct player {
    struct mailbox *box;
    uint16_t peer;
    uint64_t requests, replies, sent;
    bool serves;
};

/* Reports travel on requests and replies: both lanes must wake. */
static void send_burst(struct player *player)
{
    uint64_t burst = 1 + player->sent % BURST_COUNT_MAX;
    struct mailbox_message ask = {.kind = 1};
    for (uint64_t i = 0; i < burst && player->sent < ROUND_COUNT; i++) {
        if (mailbox_send_request(player->box, player->peer, &ask) != 0)
            break;
        player->sent++;
    }
}

static void on_message(void *owner, const struct mailbox_message *message)
{
    struct player *player = owner;
    if (message->lane == MAILBOX_REQUEST) {
        struct mailbox_message reply = {.kind = 2};
        player->requests++;
        mailbox_send_reply(player->box, message->from, &reply);
    } else {
        player->replies++;
        if (player->replies == player->sent)
            send_burst(player);
    }
}

static void *play(void *arg)
{
    struct player *player = arg;
    struct mailbox_handler handler = {.owner = player, .message = on_message};
    mailbox_bind(player->box);
    if (!player->serves)
        send_burst(player);
    while (player->serves ? player->requests < ROUND_COUNT : player->replies < ROUND_COUNT) {
        (void)mailbox_drain(player->box, &handler);
        mailbox_flush(player->box);
        struct pollfd p = {.fd = mailbox_wake_fd(player->box), .events = POLLIN};
        bool more = player->serves ? player->requests < ROUND_COUNT : player->replies < ROUND_COUNT;
        if (more && mailbox_prepare_sleep(player->box)) {
            uint64_t value;
            while (poll(&p, 1, -1) < 0)
                parley_assert(errno == EINTR);
            parley_assert(read(p.fd, &value, sizeof value) == sizeof value);
        }
        mailbox_awake(player->box);
    }
    mailbox_flush(player->box);
    return NULL;
}

static void sleepers_without_a_timeout_hear_every_message(void **state)
{
    (void)state;
    struct mailbox_grid *grid = NULL;
    struct mailbox_options options = {.reactor_count = 2, .request_slots = 4, .live_slots = 4};
    assert_int_equal(mailbox_grid_create(&options, &grid), 0);
    struct player players[2] = {
        {.box = mailbox_grid_at(grid, 0), .peer = 1},
        {.box = mailbox_grid_at(grid, 1), .peer = 0, .serves = true},
    };
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, play, &players[i]), 0);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(players[0].replies, ROUND_COUNT);
    assert_int_equal(players[1].requests, ROUND_COUNT);
    mailbox_grid_destroy(&grid);
}

/* The tightest race: the message is sent while its receiver falls asleep. Without the full fences on both sides
 * each may miss the other's write, because a store may pass a later load. */
struct duel {
    struct mailbox *sender, *sleeper;
    _Atomic uint64_t received;
    uint64_t lost;
};

static void on_shot(void *owner, const struct mailbox_message *message)
{
    struct duel *duel = owner;
    (void)message;
    atomic_fetch_add_explicit(&duel->received, 1, memory_order_relaxed);
}

static void *fall_asleep(void *arg)
{
    struct duel *duel = arg;
    struct mailbox_handler handler = {.owner = duel, .message = on_shot};
    mailbox_bind(duel->sleeper);
    bool timed_out = false;
    while (duel->received < DUEL_COUNT) {
        /* Only a message that lay there counts: the sender may have been slow himself. */
        duel->lost += mailbox_drain(duel->sleeper, &handler) > 0 && timed_out;
        timed_out = false;
        struct pollfd p = {.fd = mailbox_wake_fd(duel->sleeper), .events = POLLIN};
        /* The next shot is on its way: meet it at each of its steps. */
        for (volatile uint64_t aim = duel->received % AIM_MAX; aim > 0; aim--)
            ;
        if (duel->received < DUEL_COUNT && mailbox_prepare_sleep(duel->sleeper)) {
            uint64_t value;
            timed_out = poll(&p, 1, SLOW_ROUND_MS) == 0;
            (void)!read(p.fd, &value, sizeof value);
        }
        mailbox_awake(duel->sleeper);
    }
    return NULL;
}

static void a_message_sent_while_its_receiver_falls_asleep_wakes_it(void **state)
{
    (void)state;
    struct mailbox_grid *grid = NULL;
    struct mailbox_options options = {.reactor_count = 2, .request_slots = 4, .live_slots = 4};
    assert_int_equal(mailbox_grid_create(&options, &grid), 0);
    struct duel duel = {.sender = mailbox_grid_at(grid, 0), .sleeper = mailbox_grid_at(grid, 1)};
    struct mailbox_message shot = {.kind = 4};
    pthread_t thread;
    mailbox_bind(duel.sender);
    assert_int_equal(pthread_create(&thread, NULL, fall_asleep, &duel), 0);
    for (uint64_t i = 0; i < DUEL_COUNT; i++) {
        assert_int_equal(mailbox_send_live(duel.sender, 1, &shot), 0);
        mailbox_flush(duel.sender);
        for (uint32_t spins = 0; atomic_load_explicit(&duel.received, memory_order_relaxed) <= i; spins++)
            if (spins > SPIN_COUNT_MAX)
                sched_yield();
    }
    pthread_join(thread, NULL);
    assert_int_equal(duel.lost, 0);
    mailbox_grid_destroy(&grid);
}

/* The same between reactors, which sleep in epoll beside a ring. They look up once a second by themselves, so
 * here a lost wake-up shows as a slow round. */
struct table {
    struct reactor *reactor[2];
    struct mailbox *box[2];
    uint64_t rounds, slow_rounds, begun_ms;
};

struct seat {
    struct table *table;
    uint16_t index;
};

static void serve(struct seat *seat)
{
    struct mailbox_message ball = {.kind = 3};
    int err = mailbox_send_live(seat->table->box[seat->index], (uint16_t)(1 - seat->index), &ball);
    parley_assert(!err);
}

static int seat_start(void *owner, struct reactor *reactor)
{
    struct seat *seat = owner;
    (void)reactor;
    if (seat->index == 1) /* the last to start serves */
        serve(seat);
    return 0;
}

static void seat_message(void *owner, const struct mailbox_message *message)
{
    struct seat *seat = owner;
    struct table *table = seat->table;
    (void)message;
    if (seat->index == 0) {
        uint64_t now_ms = clock_monotonic_ms(clock_real());
        table->slow_rounds += table->begun_ms && now_ms - table->begun_ms >= SLOW_ROUND_MS;
        table->begun_ms = now_ms;
        if (++table->rounds == ROUND_COUNT) {
            reactor_stop(table->reactor[0]);
            reactor_stop(table->reactor[1]);
            return;
        }
    }
    serve(seat);
}

static void two_reactors_play_ping_pong(void **state)
{
    (void)state;
    struct table table = {.rounds = 0};
    struct seat seats[2];
    struct mailbox_grid *grid = NULL;
    struct mailbox_options options = {.reactor_count = 2, .request_slots = 4, .live_slots = 4};
    assert_int_equal(mailbox_grid_create(&options, &grid), 0);
    for (uint16_t i = 0; i < 2; i++) {
        table.box[i] = mailbox_grid_at(grid, i);
        seats[i] = (struct seat){.table = &table, .index = i};
        struct reactor_options reactor_options = {
            .mailbox = table.box[i],
            .clock = clock_real(),
            .cpu = i,
            .ring_entries = 16,
            .timer_work_max = 16,
            .hooks = {.owner = &seats[i], .on_start = seat_start, .on_message = seat_message},
        };
        assert_int_equal(reactor_create(&reactor_options, &table.reactor[i]), 0);
    }
    for (int i = 0; i < 2; i++)
        assert_int_equal(reactor_start(table.reactor[i]), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(reactor_join(table.reactor[i]), 0);
    assert_int_equal(table.rounds, ROUND_COUNT);
    assert_true(table.slow_rounds <= SLOW_ROUND_COUNT_MAX); /* a busy machine may stall by itself */
    for (int i = 0; i < 2; i++)
        reactor_destroy(&table.reactor[i]);
    mailbox_grid_destroy(&grid);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sleepers_without_a_timeout_hear_every_message),
        cmocka_unit_test(a_message_sent_while_its_receiver_falls_asleep_wakes_it),
        cmocka_unit_test(two_reactors_play_ping_pong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
