/* Presence under a clock of its own: who is there, what is told, how often, and what a full table does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "src/base/error.h"
#include "src/session/presence.h"

enum { WALL_MS = 1790000000, TTL_MS = PRESENCE_TTL_MS, MANY = 10000 };

static struct presence *p;
static uint64_t now_ms;
static uint32_t told_count, told_in_step;
static struct presence_view last;
static char last_user[16];

static void tell(void *owner, const struct id16 *hash, struct span user, const struct presence_view *view)
{
    (void)owner, (void)hash;
    assert_true(view->version > last.version);
    last = *view;
    snprintf(last_user, sizeof last_user, "%.*s", (int)user.len, (const char *)user.data);
    told_count++;
    told_in_step++;
}

static void set_up(uint32_t users_max)
{
    struct presence_options options = {.ttl_ms = TTL_MS, .users_max = users_max, .tell = tell};
    now_ms = 1000;
    told_count = 0;
    last = (struct presence_view){0};
    assert_int_equal(presence_create(&options, &p), 0);
}

static struct id16 hash_of(uint32_t user)
{
    struct id16 hash = {{0}};
    memcpy(hash.bytes, &user, sizeof user);
    return hash;
}

static int beat(uint32_t user, uint64_t device, enum presence_state state)
{
    char name[16];
    struct id16 hash = hash_of(user);
    int len = snprintf(name, sizeof name, "u%u", user);
    return presence_beat(p, &hash, (struct span){(const uint8_t *)name, (size_t)len}, device, state,
                         (struct presence_time){now_ms, WALL_MS + now_ms});
}

static struct presence_view read_one(uint32_t user)
{
    struct presence_view view;
    struct id16 hash = hash_of(user);
    presence_read(p, &hash, &view);
    return view;
}

/* Steps as the server takes them. */
static void pass(uint64_t ms)
{
    for (uint64_t end = now_ms + ms; now_ms < end;) {
        now_ms += PRESENCE_STEP_MS;
        told_in_step = 0;
        presence_step(p, now_ms);
        assert_true(told_in_step <= PRESENCE_TELLS_MAX);
    }
}

static void he_comes_and_is_gone_after_the_ttl(void **state)
{
    (void)state;
    set_up(100);
    assert_false(presence_is_busy(p));
    assert_int_equal(beat(1, 1, PRESENCE_ONLINE), 0);
    pass(1000);
    assert_int_equal(told_count, 1);
    assert_int_equal(last.state, PRESENCE_ONLINE);
    assert_string_equal(last_user, "u1");
    pass(TTL_MS - 1000 - PRESENCE_STEP_MS);
    assert_int_equal(read_one(1).state, PRESENCE_ONLINE);
    assert_int_equal(told_count, 1);
    pass(PRESENCE_STEP_MS);
    assert_int_equal(told_count, 2);
    assert_int_equal(last.state, PRESENCE_OFFLINE);
    assert_int_equal(last.last_seen_ms, WALL_MS + 1000);
    assert_int_equal(read_one(1).last_seen_ms, WALL_MS + 1000);
    assert_int_equal(read_one(2).last_seen_ms, 0);
    assert_false(presence_is_busy(p));
    presence_destroy(&p);
}

static void who_comes_back_within_the_ttl_was_never_away(void **state)
{
    (void)state;
    set_up(MANY);
    for (uint32_t i = 0; i < MANY; i++)
        assert_int_equal(beat(i, 1, PRESENCE_ONLINE), 0);
    pass(20000);
    assert_int_equal(told_count, MANY);
    for (int round = 0; round < 3; round++) { /* all connections are lost, and all come back */
        for (uint32_t i = 0; i < MANY; i++)
            assert_int_equal(beat(i, 1, PRESENCE_ONLINE), 0);
        pass(PRESENCE_BEAT_MS);
    }
    assert_int_equal(told_count, MANY);
    pass(2 * TTL_MS); /* now they stay away: told, but never more than so many in a step */
    assert_int_equal(told_count, 2 * MANY);
    assert_int_equal(presence_user_count(p), MANY);
    presence_destroy(&p);
}

static void he_is_what_the_most_present_device_is(void **state)
{
    (void)state;
    set_up(100);
    assert_int_equal(beat(1, 1, PRESENCE_AWAY), 0);
    assert_int_equal(read_one(1).state, PRESENCE_AWAY);
    assert_int_equal(beat(1, 2, PRESENCE_ONLINE), 0);
    assert_int_equal(read_one(1).state, PRESENCE_ONLINE);
    assert_int_equal(beat(1, 3, PRESENCE_AWAY), 0); /* whichever came last */
    assert_int_equal(read_one(1).state, PRESENCE_ONLINE);
    pass(PRESENCE_BEAT_MS);
    assert_int_equal(beat(1, 1, PRESENCE_AWAY), 0);
    pass(TTL_MS - PRESENCE_BEAT_MS); /* the second device is silent */
    assert_int_equal(read_one(1).state, PRESENCE_AWAY);
    assert_int_equal(last.state, PRESENCE_AWAY);
    assert_int_equal(beat(1, 1, PRESENCE_OFFLINE), 0); /* he says so: nobody waits */
    assert_int_equal(read_one(1).state, PRESENCE_OFFLINE);
    pass(1000);
    assert_int_equal(last.state, PRESENCE_OFFLINE);
    for (uint64_t device = 1; device <= 3 * PRESENCE_DEVICES_MAX; device++) {
        now_ms++;
        assert_int_equal(beat(1, device, device == 1 ? PRESENCE_ONLINE : PRESENCE_AWAY), 0);
    }
    assert_int_equal(read_one(1).state, PRESENCE_AWAY); /* the oldest device made room */
    presence_destroy(&p);
}

static void a_change_is_told_once_a_second_and_a_flap_is_not(void **state)
{
    (void)state;
    set_up(100);
    assert_int_equal(beat(1, 1, PRESENCE_ONLINE), 0);
    pass(PRESENCE_STEP_MS);
    assert_int_equal(told_count, 1);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(beat(1, 1, i % 2 ? PRESENCE_ONLINE : PRESENCE_AWAY), 0);
        pass(PRESENCE_STEP_MS);
    }
    assert_in_range(told_count, 2, 1 + 10 * PRESENCE_STEP_MS / PRESENCE_QUIET_MS);
    pass(5000);
    uint32_t before = told_count;
    assert_int_equal(beat(1, 1, PRESENCE_AWAY), 0);
    assert_int_equal(beat(1, 1, PRESENCE_ONLINE), 0);
    pass(5000);
    assert_int_equal(told_count, before);
    presence_destroy(&p);
}

static void a_full_table_forgets_who_is_offline_for_longest(void **state)
{
    (void)state;
    set_up(3);
    for (uint32_t i = 1; i <= 3; i++)
        assert_int_equal(beat(i, 1, PRESENCE_ONLINE), 0);
    assert_int_equal(beat(4, 1, PRESENCE_ONLINE), -PARLEY_ERR_FULL);
    assert_int_equal(beat(3, 1, PRESENCE_ONLINE), 0); /* who is in stays in */
    assert_int_equal(beat(2, 1, PRESENCE_OFFLINE), 0);
    pass(1000);
    assert_int_equal(beat(1, 1, PRESENCE_OFFLINE), 0);
    pass(2000);
    assert_int_equal(beat(4, 1, PRESENCE_ONLINE), 0);
    assert_int_equal(read_one(2).last_seen_ms, 0);
    assert_int_not_equal(read_one(1).last_seen_ms, 0);
    assert_int_equal(presence_user_count(p), 3);
    presence_destroy(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(he_comes_and_is_gone_after_the_ttl),
        cmocka_unit_test(who_comes_back_within_the_ttl_was_never_away),
        cmocka_unit_test(he_is_what_the_most_present_device_is),
        cmocka_unit_test(a_change_is_told_once_a_second_and_a_flap_is_not),
        cmocka_unit_test(a_full_table_forgets_who_is_offline_for_longest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
