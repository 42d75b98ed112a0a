/* Mailboxes driven by hand on one thread: the real code without threads is the simulated twin. */
#include <setjmp.h>
#include <stdarg.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "src/base/error.h"
#include "src/base/memory.h"
#include "src/reactor/mailbox.h"

enum { REQUEST_SLOTS = 8, LIVE_SLOTS = 4, RANDOM_STEP_COUNT = 200000 };

/* One reactor of the simulation. */
struct node {
    struct mailbox *box;
    uint64_t requests, replies, live, lagging;
    bool answers_at_once;
};

static struct mailbox_grid *grid;
static struct node nodes[3];

static void on_message(void *owner, const struct mailbox_message *message)
{
    struct node *node = owner;
    struct mailbox_message reply = {.kind = message->kind};
    switch (message->lane) {
    case MAILBOX_REQUEST:
        node->requests++;
        if (node->answers_at_once)
            mailbox_send_reply(node->box, message->from, &reply);
        break;
    case MAILBOX_REPLY:
        node->replies++;
        break;
    default:
        assert_int_equal(message->body.words[6], 77);
        node->live++;
    }
}

static void on_lagging(void *owner, uint16_t from)
{
    (void)from;
    ((struct node *)owner)->lagging++;
}

static void drain(struct node *node)
{
    struct mailbox_handler handler = {.owner = node, .message = on_message, .lagging = on_lagging};
    (void)mailbox_drain(node->box, &handler);
    mailbox_flush(node->box);
}

static void build(uint16_t count)
{
    struct mailbox_options options = {
        .reactor_count = count, .request_slots = REQUEST_SLOTS, .live_slots = LIVE_SLOTS};
    assert_int_equal(mailbox_grid_create(&options, &grid), 0);
    memset(nodes, 0, sizeof nodes);
    for (uint16_t i = 0; i < count; i++) {
        nodes[i].box = mailbox_grid_at(grid, i);
        nodes[i].answers_at_once = true;
        mailbox_bind(nodes[i].box);
    }
}

static const struct mailbox_message ask = {.kind = 1};
static const struct mailbox_message tell = {.kind = 2, .body = {.words = {[6] = 77}}};

static void fill(struct node *node, uint16_t to)
{
    while (mailbox_send_request(node->box, to, &ask) == 0)
        ;
    while (mailbox_send_live(node->box, to, &tell) == 0)
        ;
}

static void two_full_mailboxes_facing_each_other_make_progress(void **state)
{
    (void)state;
    build(2);
    for (uint64_t round = 1; round <= 100; round++) {
        fill(&nodes[0], 1);
        fill(&nodes[1], 0);
        drain(&nodes[round % 2]);
        drain(&nodes[1 - round % 2]);
        drain(&nodes[round % 2]);
        for (int i = 0; i < 2; i++) {
            assert_int_equal(nodes[i].requests, round * REQUEST_SLOTS);
            assert_int_equal(nodes[i].replies, round * REQUEST_SLOTS);
            assert_int_equal(nodes[i].live, round * LIVE_SLOTS);
            assert_int_equal(nodes[i].lagging, round);
            assert_int_equal(mailbox_credits(nodes[i].box, (uint16_t)(1 - i)), REQUEST_SLOTS);
        }
    }
    mailbox_grid_destroy(&grid);
    assert_null(grid);
}

static void a_request_without_a_reply_credit_is_refused(void **state)
{
    (void)state;
    build(2);
    struct mailbox_counters counters;
    nodes[1].answers_at_once = false;
    fill(&nodes[0], 1);
    drain(&nodes[1]); /* the request ring is empty again, but each request still waits for its reply */
    assert_int_equal(mailbox_owed(nodes[1].box, 0), REQUEST_SLOTS);
    assert_int_equal(mailbox_send_request(nodes[0].box, 1, &ask), -PARLEY_ERR_FULL);
    mailbox_counters_read(nodes[0].box, &counters);
    assert_int_equal(counters.requests_sent, REQUEST_SLOTS);
    assert_int_equal(counters.requests_refused_credit, 2);
    assert_int_equal(counters.live_refused, 1);
    for (int i = 0; i < REQUEST_SLOTS; i++)
        mailbox_send_reply(nodes[1].box, 0, &ask);
    assert_int_equal(mailbox_owed(nodes[1].box, 0), 0);
    assert_int_equal(mailbox_credits(nodes[0].box, 1), 0); /* a reply in the ring still holds its slot */
    drain(&nodes[0]);
    assert_int_equal(mailbox_credits(nodes[0].box, 1), REQUEST_SLOTS);
    mailbox_flush(nodes[1].box);
    mailbox_grid_destroy(&grid);
}

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void credits_never_overrun(void **state)
{
    (void)state;
    build(3);
    uint64_t seed = 88172645463325252u, asked = 0, answered = 0;
    for (int i = 0; i < 3; i++)
        nodes[i].answers_at_once = false;
    for (int step = 0; step < RANDOM_STEP_COUNT; step++) {
        struct node *node = &nodes[next_random(&seed) % 3];
        uint16_t to = (uint16_t)((mailbox_index(node->box) + 1 + next_random(&seed) % 2) % 3);
        switch (next_random(&seed) % 4) {
        case 0:
            drain(node);
            break;
        case 1:
            if (mailbox_owed(node->box, to)) {
                mailbox_send_reply(node->box, to, &ask); /* asserts that the ring takes it */
                answered++;
            }
            break;
        default:
            asked += mailbox_send_request(node->box, to, &ask) == 0;
        }
        assert_true(mailbox_credits(node->box, to) <= REQUEST_SLOTS);
        assert_true(mailbox_owed(node->box, to) <= REQUEST_SLOTS);
    }
    assert_true(asked > RANDOM_STEP_COUNT / 100 && answered > RANDOM_STEP_COUNT / 100);
    for (int i = 0; i < 3; i++)
        drain(&nodes[i]);
    assert_int_equal(nodes[0].requests + nodes[1].requests + nodes[2].requests, asked);
    for (int i = 0; i < 3; i++)
        drain(&nodes[i]);
    assert_int_equal(nodes[0].replies + nodes[1].replies + nodes[2].replies, answered);
    mailbox_grid_destroy(&grid);
}

static bool woken(struct mailbox *box)
{
    struct pollfd p = {.fd = mailbox_wake_fd(box), .events = POLLIN};
    uint64_t value;
    bool readable = poll(&p, 1, 0) == 1;
    if (readable)
        assert_int_equal(read(p.fd, &value, sizeof value), sizeof value);
    return readable;
}

static void only_a_sleeping_peer_is_woken_and_once(void **state)
{
    (void)state;
    build(3);
    assert_int_equal(mailbox_send_live(nodes[0].box, 1, &tell), 0);
    mailbox_flush(nodes[0].box);
    assert_false(woken(nodes[1].box)); /* it is awake and will drain by itself */
    assert_false(mailbox_prepare_sleep(nodes[1].box));
    drain(&nodes[1]);
    assert_true(mailbox_prepare_sleep(nodes[1].box));
    assert_int_equal(mailbox_send_live(nodes[0].box, 1, &tell), 0);
    assert_int_equal(mailbox_send_live(nodes[2].box, 1, &tell), 0);
    assert_false(woken(nodes[1].box)); /* not before the sender's flush */
    mailbox_flush(nodes[0].box);
    assert_true(woken(nodes[1].box));
    mailbox_flush(nodes[2].box);
    assert_false(woken(nodes[1].box));
    mailbox_awake(nodes[1].box);
    drain(&nodes[1]);
    assert_int_equal(nodes[1].live, 3);
    mailbox_wake(nodes[1].box); /* as reactor_stop does from any thread */
    assert_true(woken(nodes[1].box));
    mailbox_grid_destroy(&grid);
}

static void nobody_sleeps_over_a_lost_live_message(void **state)
{
    (void)state;
    build(2);
    struct mailbox_handler no_lagging = {.owner = &nodes[1], .message = on_message};
    fill(&nodes[0], 1);
    mailbox_flush(nodes[0].box);
    (void)mailbox_drain(nodes[1].box, &no_lagging);
    mailbox_flush(nodes[1].box);
    assert_false(mailbox_prepare_sleep(nodes[1].box));
    assert_true(mailbox_take_lagging(nodes[1].box, 0));
    assert_false(mailbox_take_lagging(nodes[1].box, 0));
    assert_true(mailbox_prepare_sleep(nodes[1].box));
    mailbox_grid_destroy(&grid);
}

static void each_failed_allocation_leaves_nothing_behind(void **state)
{
    (void)state;
    struct mailbox_options options = {.reactor_count = 2, .request_slots = 2, .live_slots = 2};
    uint64_t before = memory_alloc_count();
    assert_int_equal(mailbox_grid_create(&options, &grid), 0);
    uint64_t needed = memory_alloc_count() - before;
    mailbox_grid_destroy(&grid);
    for (uint64_t i = 0; i < needed; i++) {
        memory_fail_after(i, 1);
        assert_int_equal(mailbox_grid_create(&options, &grid), -PARLEY_ERR_NOMEM);
        assert_null(grid);
    }
    memory_fail_after(0, 0);
    options.live_slots = 3;
    assert_int_equal(mailbox_grid_create(&options, &grid), -PARLEY_ERR_BAD_REQUEST);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_full_mailboxes_facing_each_other_make_progress),
        cmocka_unit_test(a_request_without_a_reply_credit_is_refused),
        cmocka_unit_test(credits_never_overrun),
        cmocka_unit_test(only_a_sleeping_peer_is_woken_and_once),
        cmocka_unit_test(nobody_sleeps_over_a_lost_live_message),
        cmocka_unit_test(each_failed_allocation_leaves_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
