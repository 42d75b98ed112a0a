/* The strict head scan: every shape by which requests are smuggled, and that good heads pass. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "net/http_head.h"
#include "src/base/error.h"

/* From a heap copy of exactly these bytes, so that the address sanitizer sees a read behind them. */
static int scan(const char *text, size_t len, struct http_head *head)
{
    static struct http_head unused;
    uint8_t *copy = malloc(len ? len : 1);
    assert_non_null(copy);
    memcpy(copy, text, len);
    int err = http_head_scan(copy, len, head ? head : &unused);
    free(copy);
    return err;
}

static int scan_fields(const char *fields)
{
    char text[4096];
    int n = snprintf(text, sizeof text, "POST /v1/x HTTP/1.1\r\nHost: a\r\n%s\r\n", fields);
    return scan(text, (size_t)n, NULL);
}

static void a_good_head_passes(void **state)
{
    (void)state;
    static const char text[] = "POST /v1/x?y=%20 HTTP/1.1\r\nHost:\t a.example:8080 \r\nX-Empty:\r\n"
                               "Content-Length: 5\r\nX-Other: caf\xc3\xa9, \"q\"\r\n\r\nhello";
    struct http_head h;
    assert_int_equal(http_head_scan((const uint8_t *)text, sizeof text - 1, &h), 0);
    assert_int_equal(h.head_bytes, sizeof text - 1 - 5);
    assert_int_equal(h.field_count, 4);
    assert_true(h.has_content_length);
    assert_int_equal(h.content_length, 5);
    assert_int_equal(h.host.len, 14);
    assert_memory_equal(h.host.data, "a.example:8080", 14);
    assert_int_equal(h.method.len, 4);
    assert_int_equal(h.target.len, 11);
    assert_true(h.http_1_1);
    for (size_t cut = 0; cut < h.head_bytes; cut++)
        assert_int_equal(scan(text, cut, NULL), -PARLEY_ERR_AGAIN);
    static const char old[] = "GET / HTTP/1.0\r\n\r\n";
    assert_int_equal(http_head_scan((const uint8_t *)old, sizeof old - 1, &h), 0);
    assert_false(h.http_1_1 || h.has_content_length);
    assert_null(h.host.data);
    assert_int_equal(scan("OPTIONS * HTTP/1.1\r\nHost: [::1]\r\n\r\n", 35, NULL), 0);
}

static void two_lengths_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5\r\ncontent-LENGTH: 5\r\n", /* equal ones too */
        "Content-Length: 5, 5\r\n",
        "Content-Length: 5 5\r\n",
        "Content-Length:\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -5\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 0_2e\r\n",
        "Content-Length: 5.0\r\n",
        "Content-Length: 5\v\r\n",
        "Content-Length: \"5\"\r\n",
        "Content-Length: 18446744073709551621\r\n", /* 5, after an overflow */
    };
    for (size_t i = 0; i < PARLEY_ARRAY_COUNT(bad); i++)
        assert_int_equal(scan_fields(bad[i]), -PARLEY_ERR_BAD_REQUEST);
    assert_int_equal(scan_fields("Content-Length: 999999999999999999\r\n"), 0);
}

static void transfer_encoding_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "Transfer-Encoding: chunked\r\n",
        "transfer-encoding: identity\r\n",
        "Transfer-Encoding:\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
    };
    for (size_t i = 0; i < PARLEY_ARRAY_COUNT(bad); i++)
        assert_int_equal(scan_fields(bad[i]), -PARLEY_ERR_LENGTH_REQUIRED);
    assert_int_equal(scan_fields("Transfer-Encoding : chunked\r\n"), -PARLEY_ERR_BAD_REQUEST);
    assert_int_equal(scan_fields("Transfer-Encoding\t: chunked\r\n"), -PARLEY_ERR_BAD_REQUEST);
    assert_int_equal(scan_fields("Transfer-Encoding: \vchunked\r\n"), -PARLEY_ERR_BAD_REQUEST);
}

static void lines_and_names_are_strict(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "A: 1\r\n folded\r\n",
        "A: 1\r\n\tfolded\r\n",
        "A: 1\nB: 2\r\n",
        "A: 1\rB: 2\r\n",
        "A: 1\r\r\n",
        "A: 1\n\r\n",
        ": 1\r\n",
        "A\r\n",
        "A B: 1\r\n",
        "A(: 1\r\n",
        "\xc3\xa4: 1\r\n",
        "A: \x7f\r\n",
        "A: \x01\r\n",
        " A: 1\r\n",
        "A: 1\r\n\n",
        "Content-Length : 5\r\n",
        "Host: b\r\n",
        "Content-Length\r\n",
    };
    for (size_t i = 0; i < PARLEY_ARRAY_COUNT(bad); i++)
        assert_int_equal(scan_fields(bad[i]), -PARLEY_ERR_BAD_REQUEST);
    static const char nul[] = "GET / HTTP/1.1\r\nHost: a\r\nA: 1\0\r\n\r\n";
    assert_int_equal(scan(nul, sizeof nul - 1, NULL), -PARLEY_ERR_BAD_REQUEST);
}

static void the_request_line_is_strict(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "\r\nGET / HTTP/1.1", /* libh2o skips an empty line in front */
        " GET / HTTP/1.1",
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET /a b HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET / HTTP/1.2",
        "GET / HTTP/2.0",
        "GET / http/1.1",
        "GET / HTTP/1.10",
        "GET / HTTP/1.",
        "GET /",
        "GET",
        "GET /\x80 HTTP/1.1",
        "G(T / HTTP/1.1",
        "GET http://a/ HTTP/1.1",
        "CONNECT a:80 HTTP/1.1",
        "GET * HTTP/1.1",
        "GET / HTTP/1.1\nX: y",
    };
    for (size_t i = 0; i < PARLEY_ARRAY_COUNT(bad); i++) {
        char text[256];
        int n = snprintf(text, sizeof text, "%s\r\nHost: a\r\n\r\n", bad[i]);
        assert_int_equal(scan(text, (size_t)n, NULL), -PARLEY_ERR_BAD_REQUEST);
    }
}

static void there_is_one_host(void **state)
{
    (void)state;
    static const char none[] = "GET / HTTP/1.1\r\n\r\n";
    assert_int_equal(scan(none, sizeof none - 1, NULL), -PARLEY_ERR_BAD_REQUEST);
    static const char *const bad[] = {"a, b", "a b", "a/b", "u@a", "a\\b", "\xc3\xa4"};
    for (size_t i = 0; i < PARLEY_ARRAY_COUNT(bad); i++) {
        char text[256];
        int n = snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", bad[i]);
        assert_int_equal(scan(text, (size_t)n, NULL), -PARLEY_ERR_BAD_REQUEST);
    }
}

static void limits_are_431(void **state)
{
    (void)state;
    static char text[2 * HTTP_HEAD_BYTES_MAX];
    size_t n = (size_t)sprintf(text, "GET /");
    memset(text + n, 'a', HTTP_HEAD_LINE_BYTES_MAX + 1);
    assert_int_equal(scan(text, HTTP_HEAD_LINE_BYTES_MAX, NULL), -PARLEY_ERR_AGAIN);
    assert_int_equal(scan(text, HTTP_HEAD_LINE_BYTES_MAX + 2, NULL), -PARLEY_ERR_HEAD_TOO_LARGE);
    for (size_t fields = HTTP_HEAD_FIELD_COUNT_MAX; fields <= HTTP_HEAD_FIELD_COUNT_MAX + 1; fields++) {
        n = (size_t)sprintf(text, "GET / HTTP/1.1\r\nHost: a\r\n");
        for (size_t i = 1; i < fields; i++)
            n += (size_t)sprintf(text + n, "A: b\r\n");
        n += (size_t)sprintf(text + n, "\r\n");
        assert_int_equal(scan(text, n, NULL),
                         fields == HTTP_HEAD_FIELD_COUNT_MAX ? 0 : -PARLEY_ERR_HEAD_TOO_LARGE);
    }
    n = (size_t)sprintf(text, "GET / HTTP/1.1\r\nHost: a\r\n");
    for (int i = 0; i < 3; i++) {
        n += (size_t)sprintf(text + n, "A: ");
        memset(text + n, 'a', 7000);
        n += 7000 + (size_t)sprintf(text + n + 7000, "\r\n");
    }
    assert_int_equal(scan(text, n, NULL), -PARLEY_ERR_HEAD_TOO_LARGE);
    n = (size_t)sprintf(text, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); /* a long body behind counts not */
    memset(text + n, 'a', sizeof text - n);
    assert_int_equal(scan(text, sizeof text, NULL), 0);
}

static void every_mutation_stays_inside(void **state)
{
    (void)state;
    static const char good[] = "PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\nB: c\r\n\r\n";
    enum { LEN = sizeof good - 1 };
    for (size_t at = 0; at < LEN; at++)
        for (unsigned b = 0; b < 256; b++) {
            char bad[LEN];
            memcpy(bad, good, LEN);
            bad[at] = (char)b;
            struct http_head h;
            int err = scan(bad, LEN, &h);
            assert_true(err == 0 || err == -PARLEY_ERR_BAD_REQUEST || err == -PARLEY_ERR_AGAIN);
            if (err == 0)
                assert_int_equal(h.head_bytes, LEN);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_head_passes),
        cmocka_unit_test(two_lengths_are_refused),
        cmocka_unit_test(transfer_encoding_is_refused),
        cmocka_unit_test(lines_and_names_are_strict),
        cmocka_unit_test(the_request_line_is_strict),
        cmocka_unit_test(there_is_one_host),
        cmocka_unit_test(limits_are_431),
        cmocka_unit_test(every_mutation_stays_inside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
