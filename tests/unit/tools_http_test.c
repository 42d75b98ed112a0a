/* The head of an HTTP answer, whole, in pieces and broken; refusals; how long to wait. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <sodium.h>

#include "src/base/error.h"
#include "tools/client/backoff.h"
#include "tools/client/http_client.h"
#include "tools/client/refusal.h"

static int head_of(const char *text, size_t len, struct http_answer_head *head)
{
    uint8_t *copy = malloc(len ? len : 1); /* its end is where the sanitizer looks */
    assert_non_null(copy);
    memcpy(copy, text, len);
    int err = http_answer_head(copy, len, head);
    bool has_value = head->value.data;
    free(copy);
    head->value.data = has_value ? (const uint8_t *)"" : NULL;
    return err;
}

static void a_head_is_read_when_it_is_whole(void **state)
{
    (void)state;
    static const char text[] =
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n"
        "Sec-WebSocket-Accept:  abc=\r\nContent-Length: 12\r\nConnection: x, Close\r\n\r\nrest";
    size_t whole = strlen(text) - 4;
    struct http_answer_head head = {.name = "sec-websocket-accept"};
    for (size_t len = 0; len < whole; len++)
        assert_int_equal(head_of(text, len, &head), -PARLEY_ERR_AGAIN);
    assert_int_equal(http_answer_head((const uint8_t *)text, whole + 4, &head), 0);
    assert_int_equal(head.status, 101);
    assert_int_equal(head.head_bytes, whole);
    assert_int_equal(head.content_length, 12);
    assert_true(head.close);
    assert_true(span_is(head.value, "abc="));
    assert_int_equal(http_answer_head((const uint8_t *)"HTTP/1.1 204 \r\n\r\n", 17, &head), 0);
    assert_int_equal(head.content_length, SIZE_MAX);
    assert_null(head.value.data);
}

static void what_is_no_http_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"SSH-2.0-OpenSSH_9.2\r\n\r\n",
                                      "HTTP/2 200\r\n\r\n",
                                      "HTTP/1.1 2x0 OK\r\n\r\n",
                                      "\r\n\r\n",
                                      "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
                                      "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
                                      "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n"};
    for (size_t i = 0; i < PARLEY_ARRAY_COUNT(bad); i++) {
        struct http_answer_head head = {0};
        assert_int_equal(head_of(bad[i], strlen(bad[i]), &head), -PARLEY_ERR_BAD_REQUEST);
    }
}

static void a_refusal_says_why_and_whether_to_come_again(void **state)
{
    (void)state;
    struct refusal r;
    refusal_read(
        &r, 503,
        span_of_words("{\"error\":{\"code\":\"overloaded\",\"message\":\"Busy.\",\"retry_after_ms\":500}}"));
    assert_string_equal(r.code, "overloaded");
    assert_string_equal(r.text, "Busy.");
    assert_int_equal(r.retry_after_ms, 500);
    assert_true(refusal_passes(&r));
    refusal_read(&r, 0,
                 span_of_words("{\"type\":\"error\",\"error\":{\"code\":\"conflict\",\"message\":\"m\"}}"));
    assert_true(refusal_is(&r, "conflict"));
    assert_false(refusal_passes(&r));
    refusal_read(&r, 502, span_of_words("<html>"));
    assert_string_equal(r.code, "http_502");
    assert_true(refusal_passes(&r));
}

static void waits_double_and_end(void **state)
{
    (void)state;
    struct backoff b = {.limit_ms = 60000};
    uint64_t now = 1000, wait = 0, before = 0;
    for (int i = 0; i < 6; i++) {
        assert_int_equal(backoff_next(&b, now, 0, &wait), 0);
        uint64_t most = 100u << i;
        assert_in_range(wait, most / 2, most);
        assert_true(wait >= before / 2);
        before = wait;
        now += wait;
    }
    assert_int_equal(backoff_next(&b, now, 7000, &wait), 0);
    assert_int_equal(wait, 7000); /* the server's wish counts */
    assert_int_equal(backoff_next(&b, 61000, 0, &wait), -PARLEY_ERR_END);
    backoff_reset(&b);
    assert_int_equal(backoff_next(&b, 61000, 0, &wait), 0);
    assert_true(wait <= BACKOFF_FIRST_MS);
    struct backoff never = {.limit_ms = 0};
    assert_int_equal(backoff_next(&never, 5, 0, &wait), -PARLEY_ERR_END);
}

static void texts_are_escaped_for_where_they_go(void **state)
{
    (void)state;
    struct text t = {0};
    text_put_escaped(&t, span_of_words("a/b ?\xc3\xa4~"));
    assert_string_equal(text_words(&t), "a%2Fb%20%3F%C3%A4~");
    text_clear(&t);
    text_put_json(&t, span_of_words("\"\\\n\xc3\xa4"));
    assert_string_equal(text_words(&t), "\"\\\"\\\\\\n\xc3\xa4\"");
    text_free(&t);
}

int main(void)
{
    if (sodium_init() < 0)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_head_is_read_when_it_is_whole),
        cmocka_unit_test(what_is_no_http_is_refused),
        cmocka_unit_test(a_refusal_says_why_and_whether_to_come_again),
        cmocka_unit_test(waits_double_and_end),
        cmocka_unit_test(texts_are_escaped_for_where_they_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
