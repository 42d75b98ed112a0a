/* RFC 3339 times against the C library's calendar, from 1970 to 9999. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "src/base/error.h"
#include "src/base/rfc3339.h"

static int parse(const char *text, uint64_t *ms)
{
    return rfc3339_parse(text, strlen(text), ms);
}

static void check(uint64_t ms)
{
    char want[64], day[32], got[RFC3339_BYTES];
    time_t seconds = (time_t)(ms / 1000);
    struct tm tm;
    assert_non_null(gmtime_r(&seconds, &tm));
    strftime(day, sizeof day, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(want, sizeof want, "%s.%03uZ", day, (unsigned)(ms % 1000));
    rfc3339_format(ms, got);
    assert_memory_equal(got, want, RFC3339_BYTES);
    uint64_t back = 0;
    assert_int_equal(rfc3339_parse(got, sizeof got, &back), 0);
    assert_int_equal(back, ms);
}

static void every_day_comes_back(void **state)
{
    (void)state;
    const uint64_t day_ms = 86400000;
    for (uint64_t ms = 0; ms <= RFC3339_MS_MAX; ms += day_ms) {
        check(ms + ms / 7 % day_ms);
        if (ms / day_ms % 100 == 0) {
            check(ms);
            check(ms + day_ms - 1);
        }
    }
    check(RFC3339_MS_MAX);
    char out[RFC3339_BYTES];
    rfc3339_format(UINT64_MAX, out);
    assert_memory_equal(out, "9999-12-31T23:59:59.999Z", RFC3339_BYTES);
}

static void the_examples_of_section_5_8(void **state)
{
    (void)state;
    uint64_t ms, other;
    assert_int_equal(parse("1985-04-12T23:20:50.52Z", &ms), 0);
    assert_int_equal(ms, UINT64_C(482196050520));
    assert_int_equal(parse("1996-12-19T16:39:57-08:00", &ms), 0);
    assert_int_equal(parse("1996-12-20t00:39:57z", &other), 0);
    assert_int_equal(ms, other);
    assert_int_equal(parse("1970-01-01T00:00:00.0009999999999999999999999Z", &ms), 0);
    assert_int_equal(ms, 0);
    assert_int_equal(parse("1969-12-31T23:30:00-00:30", &ms), 0);
    assert_int_equal(ms, 0);
}

static void what_is_no_time_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "2026",
        "2026-11-24",
        "2026-11-24T06:44:48",
        "2026-11-24 06:44:48Z",
        "2026-11-24T06:44:48.Z",
        "2026-11-24T06:44:48,1Z",
        "2026-11-24T06:44:48ZZ",
        "2026-11-24T06:44:48+1:00",
        "2026-11-24T06:44:48+0100",
        "2026-11-24T06:44:48+24:00",
        "2026-11-24T06:44:48+01:60",
        "2026-11-24T06:44:48+01:0",
        "2026-00-24T06:44:48Z",
        "2026-13-24T06:44:48Z",
        "2026-11-00T06:44:48Z",
        "2026-11-31T06:44:48Z",
        "2026-02-29T06:44:48Z",
        "2100-02-29T06:44:48Z",
        "2026-11-24T24:00:00Z",
        "2026-11-24T06:60:48Z",
        "1990-12-31T23:59:60Z",
        "1969-12-31T23:59:59Z",
        "1968-12-31T23:59:59Z",
        "1970-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
        "+026-11-24T06:44:48Z",
        " 2026-11-24T06:44:48Z",
        "2026-1a-24T06:44:48Z",
    };
    for (size_t i = 0; i < PARLEY_ARRAY_COUNT(bad); i++) {
        uint64_t ms = 42;
        assert_int_equal(parse(bad[i], &ms), -PARLEY_ERR_BAD_REQUEST);
        assert_int_equal(ms, 42);
    }
    uint64_t ms;
    assert_int_equal(parse("2000-02-29T00:00:00Z", &ms), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_day_comes_back),
        cmocka_unit_test(the_examples_of_section_5_8),
        cmocka_unit_test(what_is_no_time_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
