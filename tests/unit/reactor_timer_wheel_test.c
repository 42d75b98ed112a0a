/* The wheel against a plain list of deadlines, under random adds, moves, cancels and jumps of time. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <stdio.h>
#include <cmocka.h>

#include "src/reactor/timer_wheel.h"

enum { TIMER_COUNT = 200, STEP_COUNT = 20000, SEED_COUNT = 10 };

struct oracle_timer {
    struct wheel_timer timer;
    bool pending;
    bool fired;
};

static struct oracle_timer timers[TIMER_COUNT];
static uint64_t last_fired_ms, time_ms;

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void fire(struct wheel_timer *timer)
{
    struct oracle_timer *t = (struct oracle_timer *)timer;
    assert_true(t->pending);
    assert_true(timer->deadline_ms <= time_ms);
    assert_true(timer->deadline_ms >= last_fired_ms);
    assert_false(wheel_timer_pending(timer));
    last_fired_ms = timer->deadline_ms;
    t->pending = false;
    t->fired = true;
}

static uint64_t random_delay(uint64_t *seed)
{
    /* As many short as long ones: every level and many moves between levels. */
    return next_random(seed) >> (next_random(seed) % 60 + 4);
}

static uint64_t earliest(void)
{
    uint64_t first = UINT64_MAX;
    for (size_t i = 0; i < TIMER_COUNT; i++)
        if (timers[i].pending && timers[i].timer.deadline_ms < first)
            first = timers[i].timer.deadline_ms;
    return first;
}

static void advance_and_compare(struct timer_wheel *wheel, uint32_t work_max)
{
    last_fired_ms = 0;
    do {
        timer_wheel_advance(wheel, time_ms, work_max);
    } while (timer_wheel_next_deadline_ms(wheel) <= time_ms);
    uint64_t first = earliest();
    assert_true(first > time_ms); /* nothing that was due is left */
    assert_true(timer_wheel_next_deadline_ms(wheel) <= first);
    assert_true(first == UINT64_MAX || timer_wheel_next_deadline_ms(wheel) > time_ms);
}

static void run_seed(uint64_t seed)
{
    struct timer_wheel *wheel = NULL;
    time_ms = next_random(&seed) >> 20;
    assert_int_equal(timer_wheel_create(time_ms, &wheel), 0);
    for (size_t i = 0; i < TIMER_COUNT; i++) {
        wheel_timer_init(&timers[i].timer, fire);
        timers[i].pending = false;
    }
    for (int step = 0; step < STEP_COUNT; step++) {
        struct oracle_timer *t = &timers[next_random(&seed) % TIMER_COUNT];
        switch (next_random(&seed) % 8) {
        case 0:
            timer_wheel_cancel(wheel, &t->timer);
            t->pending = false;
            break;
        case 1:
            time_ms += random_delay(&seed) >> 8;
            advance_and_compare(wheel, (uint32_t)(1 + next_random(&seed) % 50));
            break;
        case 2: /* as a reactor does: sleep until the wheel asks */
            if (timer_wheel_next_deadline_ms(wheel) != UINT64_MAX) {
                time_ms = timer_wheel_next_deadline_ms(wheel);
                advance_and_compare(wheel, 1000);
            }
            break;
        default:
            timer_wheel_add(wheel, &t->timer, time_ms + 1 + random_delay(&seed));
            t->pending = true;
        }
        uint32_t pending = 0;
        for (size_t i = 0; i < TIMER_COUNT; i++) {
            pending += timers[i].pending;
            assert_int_equal(timers[i].pending, wheel_timer_pending(&timers[i].timer));
        }
        assert_int_equal(pending, timer_wheel_count(wheel));
    }
    timer_wheel_destroy(&wheel);
    assert_null(wheel);
}

static void it_agrees_with_a_list_of_deadlines(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEED_COUNT; seed++) {
        printf("seed %d\n", (int)seed);
        run_seed(seed * 0x9e3779b97f4a7c15u);
    }
}

static void an_advance_does_no_more_than_it_may(void **state)
{
    (void)state;
    struct timer_wheel *wheel = NULL;
    assert_int_equal(timer_wheel_create(0, &wheel), 0);
    for (size_t i = 0; i < TIMER_COUNT; i++) {
        wheel_timer_init(&timers[i].timer, fire);
        timer_wheel_add(wheel, &timers[i].timer, 5);
        timers[i].pending = true;
    }
    time_ms = 5;
    last_fired_ms = 0;
    assert_int_equal(timer_wheel_advance(wheel, 5, 7), 7);
    assert_int_equal(timer_wheel_next_deadline_ms(wheel), 5); /* there is more to do */
    assert_int_equal(timer_wheel_count(wheel), TIMER_COUNT - 7);
    assert_int_equal(timer_wheel_advance(wheel, 5, UINT32_MAX), TIMER_COUNT - 7);
    assert_int_equal(timer_wheel_next_deadline_ms(wheel), UINT64_MAX);
    timer_wheel_destroy(&wheel);
}

static struct timer_wheel *shared_wheel;
static struct wheel_timer victim;
static int again_left;

static void fire_again_and_cancel(struct wheel_timer *timer)
{
    timer_wheel_cancel(shared_wheel, &victim);
    if (again_left-- > 0)
        timer_wheel_add(shared_wheel, timer, 10);
}

static void never(struct wheel_timer *timer)
{
    (void)timer;
    fail_msg("a cancelled timer fired");
}

static void a_timer_may_add_itself_and_cancel_others_while_firing(void **state)
{
    (void)state;
    struct wheel_timer timer;
    assert_int_equal(timer_wheel_create(0, &shared_wheel), 0);
    wheel_timer_init(&timer, fire_again_and_cancel);
    wheel_timer_init(&victim, never);
    timer_wheel_add(shared_wheel, &timer, 10);
    timer_wheel_add(shared_wheel, &victim, 10);
    again_left = 3;
    assert_int_equal(timer_wheel_advance(shared_wheel, 20, 100), 4);
    assert_int_equal(timer_wheel_count(shared_wheel), 0);
    timer_wheel_add(shared_wheel, &timer, UINT64_MAX); /* the far end of time is a deadline like any other */
    assert_int_equal(timer_wheel_advance(shared_wheel, UINT64_MAX - 1, 100), 0);
    timer_wheel_cancel(shared_wheel, &timer);
    timer_wheel_destroy(&shared_wheel);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_agrees_with_a_list_of_deadlines),
        cmocka_unit_test(an_advance_does_no_more_than_it_may),
        cmocka_unit_test(a_timer_may_add_itself_and_cancel_others_while_firing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
