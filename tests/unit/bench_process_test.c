/* A wrong field of /proc would make CPU and memory figures a lie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stddef.h>
#include <cmocka.h>
#include <unistd.h>

#include "bench/process.h"

static void times_are_found_behind_any_name(void **state)
{
    (void)state;
    uint64_t ticks;
    assert_true(process_stat_ticks("7 (a) b) c) S 1 7 7 0 -1 4194560 1 2 3 4 150 31 5 6 20 0", &ticks));
    assert_int_equal(ticks, 181);
    assert_false(process_stat_ticks("7 (a) S 1 7", &ticks));
    assert_false(process_stat_ticks("", &ticks));
}

static void a_field_is_found_by_its_whole_name(void **state)
{
    (void)state;
    static const char text[] =
        "00400000-7fff [rollup]\nRss:     1234 kB\nPss_Anon: 9 kB\nAnonymous:  56 kB\nLast: 7 kB";
    uint64_t kib;
    assert_true(process_field_kib(text, "Rss", &kib));
    assert_int_equal(kib, 1234);
    assert_true(process_field_kib(text, "Anonymous", &kib));
    assert_int_equal(kib, 56);
    assert_true(process_field_kib(text, "Last", &kib));
    assert_int_equal(kib, 7);
    assert_false(process_field_kib(text, "Pss", &kib));
    assert_false(process_field_kib(text, "Anon", &kib));
}

static void this_process_has_memory(void **state)
{
    (void)state;
    struct process_memory m;
    uint64_t ns;
    assert_true(process_cpu_ns((long)getpid(), &ns));
    assert_true(process_memory((long)getpid(), &m));
    assert_true(m.rss_bytes > 0 && m.anonymous_bytes > 0 && m.private_dirty_bytes > 0);
    assert_false(process_cpu_ns(-1, &ns));
    assert_false(process_memory(-1, &m));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_are_found_behind_any_name),
        cmocka_unit_test(a_field_is_found_by_its_whole_name),
        cmocka_unit_test(this_process_has_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
