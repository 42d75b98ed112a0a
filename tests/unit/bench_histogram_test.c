/* A histogram that misplaces values would make every figure a lie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stddef.h>
#include <cmocka.h>

#include "bench/histogram.h"

static void each_value_is_found_within_its_bucket(void **state)
{
    (void)state;
    for (unsigned shift = 0; shift < 63; shift++)
        for (uint64_t v = (uint64_t)1 << shift, i = 0; i < 3; i++) {
            uint64_t value = v + i * (v / 3);
            struct histogram h = {0};
            histogram_add(&h, value);
            h.max = UINT64_MAX; /* lets the bucket's own bound show */
            uint64_t top = histogram_at(&h, 1);
            assert_true(top >= value && top - value <= value / 32);
        }
}

static void percentiles_of_a_known_row(void **state)
{
    (void)state;
    struct histogram h = {0};
    for (uint64_t v = 1; v <= 10000; v++)
        histogram_add(&h, v);
    assert_in_range(histogram_at(&h, .5), 5000, 5000 + 5000 / 32);
    assert_in_range(histogram_at(&h, .99), 9900, 10000);
    assert_int_equal(histogram_at(&h, 1), 10000);
    struct histogram empty = {0};
    assert_int_equal(histogram_at(&empty, .5), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_value_is_found_within_its_bucket),
        cmocka_unit_test(percentiles_of_a_known_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
