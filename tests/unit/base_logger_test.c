/* Log lines: their form, escaping, cutting, the rate, and a reader that does not read. */
#include <setjmp.h>
#include <stdarg.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "src/base/error.h"
#include "src/base/logger.h"

enum { WALL_S_START = 1764000000 };

static struct clock_manual manual;
static int pipe_fds[2];
static char got[8192];

static int set_up(void **state)
{
    (void)state;
    static uint64_t runs; /* each test has seconds of its own: the rates outlive it */
    clock_manual_init(&manual, (uint64_t)WALL_S_START * 1000 + 7, ++runs * 10000000000u);
    assert_int_equal(pipe2(pipe_fds, O_NONBLOCK), 0);
    struct logger_options options = {
        .fd = pipe_fds[1], .level = LOGGER_INFO, .lines_per_second_max = 3, .clock = &manual.source};
    logger_configure(&options);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    close(pipe_fds[0]);
    close(pipe_fds[1]);
    return 0;
}

static const char *read_all(void)
{
    ssize_t len = read(pipe_fds[0], got, sizeof got - 1);
    got[len > 0 ? len : 0] = 0;
    return got;
}

static void a_line_is_logfmt(void **state)
{
    (void)state;
    logger_line(LOGGER_DEBUG, "unseen", logger_u64("n", 1));
    assert_string_equal(read_all(), "");
    logger_line(LOGGER_WARN, "accept_rests", logger_u64("reactor", UINT64_MAX), logger_i64("delta", -5),
                logger_text("path", "/plain"), logger_err(-PARLEY_ERR_DISK_FULL));
    assert_string_equal(read_all(), "time=2025-11-24T16:00:00.007Z level=warn event=accept_rests "
                                    "reactor=18446744073709551615 delta=-5 path=/plain error=disk_full\n");
}

static void what_a_client_sent_cannot_forge_a_line(void **state)
{
    (void)state;
    static const uint8_t hostile[] = "a\nlevel=error \"x\"\\\x1b[2J\xc3\xa4";
    logger_line(LOGGER_INFO, "e", logger_bytes("v", (struct span){hostile, sizeof hostile - 1}),
                logger_text("none", NULL));
    assert_string_equal(strstr(read_all(), "event="),
                        "event=e v=\"a\\nlevel=error \\\"x\\\"\\\\\\x1b[2J\xc3\xa4\" none=\"\"\n");
}

static void a_long_line_is_cut_and_says_so(void **state)
{
    (void)state;
    char text[5000];
    for (size_t i = 0; i < sizeof text - 1; i++)
        text[i] = i % 3 ? '\n' : 'x';
    text[sizeof text - 1] = 0;
    logger_line(LOGGER_INFO, "e", logger_text("v", text), logger_u64("lost", 1));
    size_t len = strlen(read_all());
    assert_true(len <= LOGGER_LINE_BYTES_MAX && len > LOGGER_LINE_BYTES_MAX - 128);
    static const char tail[] = "\" truncated=true\n";
    assert_string_equal(got + len - strlen(tail), tail);
    assert_null(strstr(got, "lost"));
}

static void a_storm_is_limited_and_counted(void **state)
{
    (void)state;
    uint64_t before = logger_dropped();
    for (int i = 0; i < 10; i++)
        logger_line(LOGGER_ERROR, "storm", logger_i64("i", i));
    assert_non_null(strstr(read_all(), "i=2\n"));
    assert_null(strstr(got, "i=3"));
    logger_line(LOGGER_WARN, "other", logger_u64("n", 1)); /* another level is not affected */
    assert_non_null(strstr(read_all(), "event=other"));
    clock_manual_advance(&manual, 1000000000u);
    logger_line(LOGGER_ERROR, "storm", logger_i64("i", 10));
    assert_non_null(strstr(read_all(), "i=10 dropped=7\n"));
    assert_int_equal(logger_dropped() - before, 7);
}

static void a_reader_that_does_not_read_blocks_nobody(void **state)
{
    (void)state;
    char block[4096] = {0};
    while (write(pipe_fds[1], block, sizeof block) > 0)
        ;
    assert_int_equal(fcntl(pipe_fds[1], F_SETFL, 0), 0); /* blocking, as standard error is */
    uint64_t before = logger_dropped();
    logger_line(LOGGER_INFO, "e", logger_u64("n", 1));
    assert_int_equal(logger_dropped() - before, 1);
    while (read(pipe_fds[0], got, sizeof got) > 0)
        ;
    logger_line(LOGGER_INFO, "e", logger_u64("n", 2));
    assert_non_null(strstr(read_all(), "n=2 dropped=1\n"));
}

static void a_manual_clock_stands_still(void **state)
{
    (void)state;
    uint64_t wall_ms = clock_wall_ms(&manual.source), ns = clock_monotonic_ns(&manual.source);
    clock_manual_step_wall(&manual, -500);
    assert_int_equal(clock_wall_ms(&manual.source), wall_ms - 500);
    assert_int_equal(clock_monotonic_ns(&manual.source), ns);
    clock_manual_advance(&manual, 2000000);
    assert_int_equal(clock_wall_ms(&manual.source), wall_ms - 498);
    assert_int_equal(clock_monotonic_ns(&manual.source), ns + 2000000);
    uint64_t real_ns = clock_monotonic_ns(clock_real());
    assert_true(clock_monotonic_ns(clock_real()) >= real_ns);
    assert_true(clock_wall_ms(clock_real()) > (uint64_t)WALL_S_START * 1000);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_line_is_logfmt),
        TEST(what_a_client_sent_cannot_forge_a_line),
        TEST(a_long_line_is_cut_and_says_so),
        TEST(a_storm_is_limited_and_counted),
        TEST(a_reader_that_does_not_read_blocks_nobody),
        TEST(a_manual_clock_stands_still),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
