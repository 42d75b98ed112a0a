/* The load generator believes an answer only when it is whole and says how long it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

#include "bench/http_response.h"
#include "src/base/error.h"

static int scan(const char *text, struct http_response *out)
{
    return http_response_scan((const uint8_t *)text, strlen(text), out);
}

static void an_answer_is_read_once_its_head_is_whole(void **state)
{
    (void)state;
    static const char text[] =
        "HTTP/1.1 200 OK\r\nServer: x\r\ncontent-LENGTH:  12 \r\n\r\nhello world!HTTP/1.1";
    struct http_response r;
    size_t head = strlen(text) - strlen("hello world!HTTP/1.1");
    for (size_t len = 0; len < head; len++)
        assert_int_equal(http_response_scan((const uint8_t *)text, len, &r), -PARLEY_ERR_AGAIN);
    for (size_t len = head; len <= strlen(text); len++) {
        assert_int_equal(http_response_scan((const uint8_t *)text, len, &r), 0);
        assert_int_equal(r.status, 200);
        assert_int_equal(r.head_bytes, head);
        assert_int_equal(r.body_bytes, 12);
        assert_false(r.closes);
    }
}

static void other_statuses_and_closing(void **state)
{
    (void)state;
    struct http_response r;
    assert_int_equal(
        scan("HTTP/1.1 503 Service Unavailable\r\nConnection: Close\r\nContent-Length: 0\r\n\r\n", &r), 0);
    assert_int_equal(r.status, 503);
    assert_int_equal(r.body_bytes, 0);
    assert_true(r.closes);
    assert_int_equal(scan("HTTP/1.1 204\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n", &r), 0);
    assert_int_equal(r.status, 204);
    assert_false(r.closes);
}

static void what_is_no_measurable_answer_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
        "ICY 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\n",
        "\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1234567890123456\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
    };
    struct http_response r;
    for (size_t i = 0; i < PARLEY_ARRAY_COUNT(bad); i++)
        assert_int_equal(scan(bad[i], &r), -PARLEY_ERR_BAD_REQUEST);
}

static void an_endless_head_is_refused(void **state)
{
    (void)state;
    static uint8_t text[HTTP_RESPONSE_HEAD_BYTES_MAX];
    struct http_response r;
    memset(text, 'x', sizeof text);
    assert_int_equal(http_response_scan(text, sizeof text - 1, &r), -PARLEY_ERR_AGAIN);
    assert_int_equal(http_response_scan(text, sizeof text, &r), -PARLEY_ERR_HEAD_TOO_LARGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_is_read_once_its_head_is_whole),
        cmocka_unit_test(other_statuses_and_closing),
        cmocka_unit_test(what_is_no_measurable_answer_is_refused),
        cmocka_unit_test(an_endless_head_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
