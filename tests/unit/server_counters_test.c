/* Operators and bench see the shards' counters by way of a board: each under its own name, summed over shards. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>
#include <unistd.h>

#include "src/base/logger.h"
#include "src/server/counters.h"

static void sums_are_json_and_a_shard_is_a_line(void **state)
{
    (void)state;
    struct counters_board *board;
    char json[COUNTERS_JSON_BYTES], line[16384];
    int pipe_fds[2];
    assert_int_equal(counters_create(2, 3, &board), 0);
    struct shard_counters now = {.applied = 5, .log.event_bytes = UINT64_MAX - 7, .log.padding_bytes = 40};
    counters_publish(board, 0, &now);
    now = (struct shard_counters){.applied = 6, .log.event_bytes = 7, .batch_bytes_written = 3};
    counters_publish(board, 1, &now);
    struct thread_counters own = {.mailbox.live_refused = 4, .listener.refused_peer = 8, .reactor.turns = 16};
    counters_publish_thread(board, 0, &own);
    counters_publish_thread(board, 2, &own);
    size_t len = counters_json(board, json);
    assert_int_equal(len, strlen(json));
    assert_int_equal(json[0], '{');
    assert_int_equal(json[len - 1], '}');
    assert_non_null(strstr(json, "\"shards\":2,"));
    assert_non_null(strstr(json, "\"applied\":11,"));
    assert_non_null(strstr(json, "\"log_event_bytes\":18446744073709551615,"));
    assert_non_null(strstr(json, "\"log_padding_bytes\":40,"));
    assert_non_null(strstr(json, "\"store_batch_bytes\":3,"));
    assert_non_null(strstr(json, "\"reactors\":3,"));
    assert_non_null(strstr(json, "\"mailbox_live_refused\":8,"));
    assert_non_null(strstr(json, "\"listener_refused_peer\":16,"));
    assert_non_null(strstr(json, "\"reactor_turns\":32,"));

    assert_int_equal(pipe(pipe_fds), 0);
    struct logger_options log = {
        .fd = pipe_fds[1], .level = LOGGER_INFO, .lines_per_second_max = 100, .clock = clock_real()};
    logger_configure(&log);
    counters_log(board);
    ssize_t n = read(pipe_fds[0], line, sizeof line - 1);
    assert_true(n > 0);
    line[n] = '\0';
    assert_non_null(strstr(line, " event=shard_counters shard=1 applied=6 "));
    assert_non_null(strstr(line, " store_batch_bytes=3 "));
    assert_non_null(strstr(line, " event=reactor_counters reactor=2 reactor_turns=16 "));
    assert_non_null(strstr(line, " mailbox_live_refused=4 "));
    assert_null(strstr(line, "truncated"));
    close(pipe_fds[0]);
    close(pipe_fds[1]);
    counters_destroy(&board);
    assert_null(board);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_are_json_and_a_shard_is_a_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
