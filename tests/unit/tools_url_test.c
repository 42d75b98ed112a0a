/* Where a server is: what is a URL of ours, and what is not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "src/base/error.h"
#include "tools/client/url.h"

static void assert_url(const char *text, const char *host, const char *port, const char *prefix)
{
    struct url url;
    assert_int_equal(url_parse(text, &url), 0);
    assert_string_equal(url.host, host);
    assert_string_equal(url.port, port);
    assert_string_equal(url.prefix, prefix);
}

static void good_ones_are_taken_apart(void **state)
{
    (void)state;
    assert_url("http://127.0.0.1:8080", "127.0.0.1", "8080", "");
    assert_url("http://chat.example.com", "chat.example.com", "80", "");
    assert_url("HTTP://localhost:1/", "localhost", "1", "");
    assert_url("http://[::1]:8080", "::1", "8080", "");
    assert_url("http://[fe80::1]/chat/", "fe80::1", "80", "/chat");
    assert_url("http://h:65535/a/b", "h", "65535", "/a/b");
}

static void bad_ones_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "h:80",
        "https://h",
        "http://",
        "http://:80",
        "http://h:",
        "http://h:0",
        "http://h:65536",
        "http://u@h",
        "http://h:8x",
        "http://[::1",
        "http://[::1]x",
        "http://h/?q",
        "http://h/#f",
        "http://h x",
        "http://h/a\r\nX: y",
        "http://h:80:80",
    };
    for (size_t i = 0; i < PARLEY_ARRAY_COUNT(bad); i++) {
        struct url url = {.host = "kept"};
        assert_int_equal(url_parse(bad[i], &url), -PARLEY_ERR_BAD_REQUEST);
        assert_string_equal(url.host, "kept");
    }
    char endless[2000] = "http://";
    struct url url;
    memset(endless + 7, 'a', sizeof endless - 8);
    endless[sizeof endless - 1] = 0;
    assert_int_equal(url_parse(endless, &url), -PARLEY_ERR_BAD_REQUEST);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_ones_are_taken_apart),
        cmocka_unit_test(bad_ones_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
