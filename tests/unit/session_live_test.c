/* Live delivery over three reactors driven by hand on one thread: who hears, in which order, and who learns of a loss. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#include "src/base/error.h"
#include "src/base/memory.h"
#include "tests/unit/live_drain.h"

enum { REACTORS = 3, REQUEST_SLOTS = 4, LIVE_SLOTS = 4, HEARD_MAX = 64 };

struct ear {
    struct subscriber subscriber; /* first */
    uint32_t joined, lags, gone, heard_count;
    uint64_t heard[HEARD_MAX]; /* event ids; 0: a lag */
    int err;
    bool leaves_when_told;
    struct live *live;
};

static struct mailbox_grid *grid;
static struct live_shared *shared;
static struct live *lives[REACTORS];
static struct mailbox *boxes[REACTORS];
static uint32_t encoded_count;

/* The first byte of a key names its reactor. */
static struct id16 key_on(uint8_t reactor, uint8_t n)
{
    return (struct id16){{reactor, n, 0, n}};
}

static uint16_t reactor_of(void *owner, const struct id16 *key)
{
    (void)owner;
    return key->bytes[0];
}

static size_t room(const struct event *event)
{
    return event->body.len + 1;
}

static size_t encode(const struct event *event, uint8_t *out, size_t out_room)
{
    assert_true(event->body.len < out_room);
    memcpy(out, event->body.data, event->body.len);
    encoded_count++;
    return event->body.len;
}

static void on_joined(struct subscriber *s, int err)
{
    ((struct ear *)s)->joined++;
    ((struct ear *)s)->err = err;
}

static void on_deliver(struct subscriber *s, struct live_message *m)
{
    struct ear *ear = (struct ear *)s;
    assert_true(ear->heard_count < HEARD_MAX);
    assert_int_equal(m->len, 2);
    assert_memory_equal(m->bytes, "hi", 2);
    ear->heard[ear->heard_count++] = m->id;
    if (ear->leaves_when_told)
        live_leave(ear->live, s);
}

static void on_lag(struct subscriber *s)
{
    struct ear *ear = (struct ear *)s;
    ear->lags++;
    ear->heard[ear->heard_count++] = 0;
}

static void on_gone(struct subscriber *s)
{
    ((struct ear *)s)->gone++;
}

static void drain(uint16_t i)
{
    live_drain(lives[i], boxes[i]);
    live_turn_end(lives[i]);
    mailbox_flush(boxes[i]);
}

static void drain_all(void)
{
    for (int round = 0; round < 8; round++)
        for (uint16_t i = 0; i < REACTORS; i++)
            drain(i);
}

static int set_up(void **state)
{
    (void)state;
    struct mailbox_options mail = {REACTORS, REQUEST_SLOTS, LIVE_SLOTS};
    assert_int_equal(mailbox_grid_create(&mail, &grid), 0);
    assert_int_equal(live_shared_create(REACTORS, &shared), 0);
    for (uint16_t i = 0; i < REACTORS; i++) {
        boxes[i] = mailbox_grid_at(grid, i);
        mailbox_bind(boxes[i]);
        struct live_options options = {.mailbox = boxes[i],
                                       .reactor_count = REACTORS,
                                       .shared = shared,
                                       .reactor_of = reactor_of,
                                       .room = room,
                                       .encode = encode};
        assert_int_equal(live_create(&options, &lives[i]), 0);
    }
    encoded_count = 0;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    drain_all();
    for (uint16_t i = 0; i < REACTORS; i++)
        live_destroy(&lives[i]);
    live_shared_destroy(&shared);
    mailbox_grid_destroy(&grid);
    return 0;
}

static void join(struct ear *ear, uint16_t at, enum live_topic topic, struct id16 key)
{
    static const struct subscriber_ops ops = {on_joined, on_deliver, on_lag, on_gone};
    *ear = (struct ear){.subscriber = {.ops = &ops, .key = key, .session = live_session_number(lives[at])},
                        .live = lives[at]};
    live_join(lives[at], topic, &ear->subscriber);
}

static void leave(struct ear *ear)
{
    live_leave(ear->live, &ear->subscriber);
    drain_all();
    assert_int_equal(ear->gone, 1);
}

/* A page of members; those marked have left. */
static void page_of(struct page *page, struct page_members *members, struct member *list,
                    const struct id16 *keys, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        list[i] = (struct member){
            .hash = keys[i], .interval_count = 1, .intervals.inlined = {{.joined = 1, .left = 0}}};
    *members = (struct page_members){list, count, count};
    *page = (struct page){.applied = members};
}

static const struct id16 users[] = {{{0, 1, 0, 1}}, {{1, 2, 0, 2}}, {{2, 3, 0, 3}}};

static struct event event_of(enum event_kind kind, uint64_t id)
{
    return (struct event){
        .kind = kind, .id = id, .seq = id, .conversation = {{2, 9}}, .body = {(const uint8_t *)"hi", 2}};
}

static void publish_from(uint16_t owner, const struct event *event, uint64_t session)
{
    struct page page;
    struct page_members members;
    struct member list[PARLEY_ARRAY_COUNT(users)];
    page_of(&page, &members, list, users, PARLEY_ARRAY_COUNT(users));
    const struct page *pages[] = {&page};
    live_publish(lives[owner], event, pages, 1, false, session);
}

static void say(uint16_t owner, uint64_t id, uint64_t session)
{
    struct event event = event_of(EVENT_MESSAGE, id);
    publish_from(owner, &event, session);
}

static void every_session_hears_once_wherever_it_is(void **state)
{
    (void)state;
    struct ear ears[REACTORS * REACTORS], stranger;
    join(&stranger, 0, LIVE_USER, key_on(1, 77));
    for (uint16_t u = 0; u < REACTORS; u++)
        for (uint16_t at = 0; at < REACTORS; at++)
            join(&ears[u * REACTORS + at], at, LIVE_USER, users[u]);
    drain_all();
    for (uint64_t id = 1; id <= 9; id++) {
        say((uint16_t)(id % REACTORS), id, 0);
        drain_all();
    }
    assert_int_equal(encoded_count, 9);
    for (uint32_t i = 0; i < PARLEY_ARRAY_COUNT(ears); i++) {
        assert_int_equal(ears[i].joined, 1);
        assert_int_equal(ears[i].err, 0);
        assert_int_equal(ears[i].heard_count, 9);
        for (uint64_t n = 0; n < 9; n++)
            assert_int_equal(ears[i].heard[n], n + 1);
        leave(&ears[i]);
    }
    assert_int_equal(stranger.heard_count, 0);
    leave(&stranger);
}

static void the_asking_session_hears_nothing_and_its_brother_does(void **state)
{
    (void)state;
    struct ear asking, brother;
    join(&asking, 1, LIVE_USER, users[0]);
    join(&brother, 1, LIVE_USER, users[0]);
    drain_all();
    assert_int_not_equal(asking.subscriber.session, brother.subscriber.session);
    say(2, 5, asking.subscriber.session);
    drain_all();
    assert_int_equal(asking.heard_count, 0);
    assert_int_equal(brother.heard_count, 1);
    leave(&asking);
    leave(&brother);
}

static void nothing_is_encoded_when_nobody_is_there(void **state)
{
    (void)state;
    struct ear ear, elsewhere;
    struct mailbox_counters counters;
    uint64_t allocations = memory_alloc_count();
    say(0, 1, 0);
    assert_int_equal(memory_alloc_count(), allocations);
    join(&elsewhere, 0, LIVE_CONVERSATION, key_on(1, 55)); /* somebody is, but no user's session */
    drain_all();
    allocations = memory_alloc_count();
    say(0, 2, 0);
    assert_int_equal(memory_alloc_count(), allocations);
    join(&ear, 0, LIVE_USER, users[1]);
    drain_all();
    leave(&ear); /* who left is not sent to */
    say(0, 3, 0);
    mailbox_counters_read(boxes[0], &counters);
    assert_int_equal(counters.live_sent, 0);
    assert_int_equal(encoded_count, 0);
    leave(&elsewhere);
}

static void a_full_lane_ends_in_lag_before_what_comes_behind(void **state)
{
    (void)state;
    struct ear near, far, other;
    join(&near, 1, LIVE_USER, users[1]);
    join(&far, 2, LIVE_USER, users[1]); /* its directory is on 1, which loses */
    join(&other, 2, LIVE_USER, users[2]);
    drain_all();
    for (uint64_t id = 1; id <= LIVE_SLOTS + 2; id++)
        say(0, id, 0);
    drain_all();
    say(0, 100, 0);
    drain_all();
    assert_true(near.lags >= 1 && far.lags >= 1 && other.lags >= 1);
    const struct ear *ears[] = {&near, &far, &other};
    for (uint32_t e = 0; e < PARLEY_ARRAY_COUNT(ears); e++) {
        uint64_t last = 0;
        bool lagged = false;
        for (uint32_t i = 0; i < ears[e]->heard_count; i++) {
            uint64_t id = ears[e]->heard[i];
            lagged = lagged || id == 0;
            if (id) { /* without a gap, or told */
                assert_true(id == last + 1 || (id > last && lagged));
                last = id;
            }
        }
        assert_int_equal(last, 100);
    }
    leave(&near);
    leave(&far);
    leave(&other);
}

static void a_loss_is_told_before_a_message_that_slipped_in_behind_it(void **state)
{
    (void)state;
    struct ear ear;
    join(&ear, 1, LIVE_USER, users[1]);
    drain_all();
    for (uint64_t id = 1; id <= LIVE_SLOTS + 1; id++) /* the last is refused */
        say(0, id, 0);
    drain(1);
    assert_int_equal(ear.heard[0], 0);
    assert_int_equal(ear.heard_count, LIVE_SLOTS + 1);
    leave(&ear);
}

static void a_registration_that_is_refused_waits_and_is_not_lost(void **state)
{
    (void)state;
    struct ear ears[4 * REQUEST_SLOTS], hasty;
    for (uint32_t i = 0; i < PARLEY_ARRAY_COUNT(ears); i++)
        join(&ears[i], 0, LIVE_USER, users[1]);
    join(&hasty, 0, LIVE_USER, users[1]);
    live_leave(lives[0], &hasty.subscriber); /* before it could even ask */
    drain(1);
    drain(0);
    assert_int_equal(ears[0].joined, 1);
    assert_int_equal(ears[PARLEY_ARRAY_COUNT(ears) - 1].joined, 0);
    drain_all();
    assert_int_equal(hasty.joined, 0);
    assert_int_equal(hasty.gone, 1);
    say(2, 1, 0);
    drain_all();
    for (uint32_t i = 0; i < PARLEY_ARRAY_COUNT(ears); i++) {
        assert_int_equal(ears[i].joined, 1);
        assert_int_equal(ears[i].heard_count, 1);
        live_leave(lives[0], &ears[i].subscriber);
    }
    drain_all();
    for (uint32_t i = 0; i < PARLEY_ARRAY_COUNT(ears); i++)
        assert_int_equal(ears[i].gone, 1);
    say(2, 2, 0);
    assert_int_equal(encoded_count, 1);
}

static void leaving_while_joining_ends_once(void **state)
{
    (void)state;
    struct ear ear;
    join(&ear, 0, LIVE_USER, users[1]);
    live_leave(lives[0], &ear.subscriber);
    assert_int_equal(ear.gone, 0);
    drain_all();
    assert_int_equal(ear.joined, 0);
    assert_int_equal(ear.gone, 1);
    say(0, 1, 0);
    assert_int_equal(encoded_count, 0);
}

static void who_was_removed_is_told_and_who_had_left_is_not(void **state)
{
    (void)state;
    struct ear removed, former;
    struct id16 former_user = key_on(1, 42);
    join(&removed, 1, LIVE_USER, key_on(2, 41));
    join(&former, 1, LIVE_USER, former_user);
    drain_all();
    struct event event = event_of(EVENT_REMOVED, 4);
    event.target_hash = key_on(2, 41);
    struct member list[] = {
        {.hash = former_user, .interval_count = 1, .intervals.inlined = {{.joined = 1, .left = 2}}},
        {.hash = key_on(2, 41), .interval_count = 1, .intervals.inlined = {{.joined = 1, .left = 4}}}};
    struct page_members members = {list, 2, 2};
    struct page page = {.applied = &members};
    const struct page *pages[] = {&page};
    live_publish(lives[0], &event, pages, 1, false, 0);
    drain_all();
    assert_int_equal(removed.heard_count, 1);
    assert_int_equal(former.heard_count, 0);
    event.kind = EVENT_SPLIT; /* is nobody's business */
    live_publish(lives[0], &event, pages, 1, false, 0);
    assert_int_equal(encoded_count, 1);
    leave(&removed);
    leave(&former);
}

static void a_large_conversation_reaches_its_followers(void **state)
{
    (void)state;
    struct ear followers[REACTORS], user, target;
    for (uint16_t at = 0; at < REACTORS; at++)
        join(&followers[at], at, LIVE_CONVERSATION, (struct id16){{2, 9}});
    join(&user, 0, LIVE_USER, users[0]);
    join(&target, 1, LIVE_USER, users[2]);
    drain_all();
    struct event event = event_of(EVENT_MESSAGE, 1);
    live_publish(lives[2], &event, NULL, 0, true, 0);
    followers[1].leaves_when_told = followers[2].leaves_when_told = true; /* 2 is the owner's own */
    event = event_of(EVENT_ADDED, 2);
    event.target_hash = users[2];
    live_publish(lives[2], &event, NULL, 0, true, 0);
    drain_all();
    event = event_of(EVENT_MESSAGE, 3);
    live_publish(lives[2], &event, NULL, 0, true, 0);
    drain_all();
    assert_int_equal(followers[0].heard_count, 3);
    assert_int_equal(followers[1].heard_count, 1);
    assert_int_equal(followers[1].gone, 1);
    assert_int_equal(followers[2].heard_count, 2);
    assert_int_equal(followers[2].gone, 1);
    assert_int_equal(user.heard_count, 0);
    assert_int_equal(target.heard_count, 1);
    leave(&followers[0]);
    leave(&user);
    leave(&target);
}

/* Each failed allocation of a delivery is told as a lag, or harms nobody. */
static void without_memory_nothing_is_lost_silently(void **state)
{
    (void)state;
    struct ear ears[REACTORS];
    for (uint16_t at = 0; at < REACTORS; at++)
        join(&ears[at], at, LIVE_USER, users[(at + 1) % REACTORS]);
    drain_all();
    for (uint64_t n = 0; n < 8; n++) {
        for (uint16_t at = 0; at < REACTORS; at++)
            ears[at].heard_count = ears[at].lags = 0;
        memory_fail_after(n, 1);
        say(0, n + 1, 0);
        drain_all();
        memory_fail_after(0, 0);
        for (uint16_t at = 0; at < REACTORS; at++)
            assert_true(ears[at].lags > 0 || (ears[at].heard_count == 1 && ears[at].heard[0] == n + 1));
    }
    memory_fail_after(0, 1);
    struct ear late;
    join(&late, 0, LIVE_USER, key_on(1, 99));
    drain_all();
    memory_fail_after(0, 0);
    assert_int_equal(late.joined, 1);
    assert_int_equal(late.err, -PARLEY_ERR_NOMEM);
    leave(&late);
    for (uint16_t at = 0; at < REACTORS; at++)
        leave(&ears[at]);
}

int main(void)
{
#define LIVE_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        LIVE_TEST(every_session_hears_once_wherever_it_is),
        LIVE_TEST(the_asking_session_hears_nothing_and_its_brother_does),
        LIVE_TEST(nothing_is_encoded_when_nobody_is_there),
        LIVE_TEST(a_full_lane_ends_in_lag_before_what_comes_behind),
        LIVE_TEST(a_loss_is_told_before_a_message_that_slipped_in_behind_it),
        LIVE_TEST(a_registration_that_is_refused_waits_and_is_not_lost),
        LIVE_TEST(leaving_while_joining_ends_once),
        LIVE_TEST(who_was_removed_is_told_and_who_had_left_is_not),
        LIVE_TEST(a_large_conversation_reaches_its_followers),
        LIVE_TEST(without_memory_nothing_is_lost_silently),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
