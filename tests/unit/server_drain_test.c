/* Good-byes are spread, all are said, and reactors end together. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "src/server/drain.h"

static void good_byes_are_spread_over_half_of_the_grace(void **state)
{
    (void)state;
    struct drain d = {0};
    assert_false(drain_begun(&d));
    drain_begin(&d, 1000, 10000, 20000);
    assert_true(drain_begun(&d));
    assert_int_equal(drain_due(&d, 1000), 0);
    for (uint64_t now = 1000; now < 6000; now += 20) {
        uint32_t due = drain_due(&d, now);
        assert_true(due <= 80);
        d.told += due;
    }
    assert_true(d.told >= 19900 && d.told < 20000);
    assert_true(drain_due(&d, 6000) >= 100); /* and whoever came meanwhile */
}

static void few_are_told_at_once_and_without_grace_all(void **state)
{
    (void)state;
    struct drain d;
    drain_begin(&d, 5, 10000, 0);
    assert_true(drain_due(&d, 5) > 0);
    drain_begin(&d, 5, 10000, 10);
    assert_true(drain_due(&d, 15) >= 10);
    drain_begin(&d, 5, 0, 1000);
    assert_true(drain_due(&d, 5) >= 1000);
}

static void nobody_ends_before_the_last_is_quiet_or_the_time_is_over(void **state)
{
    (void)state;
    struct drain a, b;
    drain_barrier barrier = 0;
    drain_begin(&a, 1, 100, 0);
    drain_begin(&b, 1, 100, 0);
    assert_false(drain_quiet(&a, &barrier, 2));
    assert_false(drain_quiet(&a, &barrier, 2));
    assert_false(drain_over(&a, 50, &barrier, 2));
    assert_true(drain_over(&a, 101, &barrier, 2));
    assert_true(drain_quiet(&b, &barrier, 2));
    assert_true(drain_over(&a, 50, &barrier, 2));
    assert_true(drain_over(&b, 50, &barrier, 2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_byes_are_spread_over_half_of_the_grace),
        cmocka_unit_test(few_are_told_at_once_and_without_grace_all),
        cmocka_unit_test(nobody_ends_before_the_last_is_quiet_or_the_time_is_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
