/* The WebSocket handshake: RFC 6455's example, and what must be refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#include "net/token.h"
#include "net/ws_handshake.h"
#include "src/base/error.h"

static struct span text(const char *s)
{
    return (struct span){(const uint8_t *)s, strlen(s)};
}

static struct ws_handshake example(void)
{
    return (struct ws_handshake){
        .method = text("GET"),
        .http_1_1 = true,
        .upgrade = text("websocket"),
        .connection = text("Upgrade"),
        .version = text("13"),
        .key = text("dGhlIHNhbXBsZSBub25jZQ=="),
    };
}

static int check(struct ws_handshake h)
{
    char accept[WS_ACCEPT_BYTES + 1];
    return ws_handshake_check(&h, accept);
}

static void the_example_of_section_1_3(void **state)
{
    (void)state;
    struct ws_handshake h = example();
    char accept[WS_ACCEPT_BYTES + 1];
    assert_int_equal(ws_handshake_check(&h, accept), 0);
    assert_string_equal(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    h.connection = text("keep-alive, \t UPGRADE");
    h.upgrade = text(",foo/2 , WebSocket");
    assert_int_equal(ws_handshake_check(&h, accept), 0);
}

static void what_is_no_handshake_is_refused(void **state)
{
    (void)state;
    struct ws_handshake h = example();
    h.method = text("get");
    assert_int_equal(check(h), -PARLEY_ERR_METHOD);
    h = example();
    h.http_1_1 = false;
    assert_int_equal(check(h), -PARLEY_ERR_BAD_REQUEST);
    h = example();
    h.repeated = true;
    assert_int_equal(check(h), -PARLEY_ERR_BAD_REQUEST);
    h = example();
    h.upgrade = text("websockets");
    assert_int_equal(check(h), -PARLEY_ERR_BAD_REQUEST);
    h = example();
    h.upgrade = (struct span){0};
    assert_int_equal(check(h), -PARLEY_ERR_BAD_REQUEST);
    h = example();
    h.connection = text("keep-alive, not-upgrade");
    assert_int_equal(check(h), -PARLEY_ERR_BAD_REQUEST);
}

static void another_version_is_told(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "8", "14", "13, 8", "013"};
    for (size_t i = 0; i < PARLEY_ARRAY_COUNT(bad); i++) {
        struct ws_handshake h = example();
        char accept[WS_ACCEPT_BYTES + 1];
        h.version = text(bad[i]);
        assert_int_equal(ws_handshake_check(&h, accept), -PARLEY_ERR_BAD_REQUEST);
        assert_true(h.version_mismatch);
    }
}

static void a_key_is_16_bytes(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "dGhlIHNhbXBsZSBub25jZQ",
        "dGhlIHNhbXBsZSBub25jZQ=",
        "dGhlIHNhbXBsZSBub25jZQ==\t",
        "dGhlIHNhbXBsZSBub25jZR==", /* loose bits at the end */
        "dGhlIHNhbXBsZSBub25j ZQ=",
        "dGhlIHNhbXBsZSBub25jZWFh",
        "dGhlIHNhbXBsZSBub25_ZQ==",
        "dGhlIHNhbXBsZSBub25jZWE=",
    };
    for (size_t i = 0; i < PARLEY_ARRAY_COUNT(bad); i++) {
        struct ws_handshake h = example();
        h.key = text(bad[i]);
        assert_int_equal(check(h), -PARLEY_ERR_BAD_REQUEST);
        assert_false(h.version_mismatch);
    }
    for (unsigned c = 0; c < 256; c++) {
        char key[] = "dGhlIHNhbXBsZSBub25jZQ==";
        key[3] = (char)c;
        struct ws_handshake h = example();
        h.key = (struct span){(const uint8_t *)key, sizeof key - 1};
        bool good = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '+' ||
                    c == '/';
        assert_int_equal(check(h), good ? 0 : -PARLEY_ERR_BAD_REQUEST);
    }
}

static void lists_are_cut_at_commas(void **state)
{
    (void)state;
    struct span list = text(" , a ,, b\t,"), e;
    assert_true(token_next(&list, &e));
    assert_true(token_equals(e, "a"));
    assert_true(token_next(&list, &e));
    assert_true(token_equals(e, "b"));
    assert_false(token_next(&list, &e));
    assert_false(token_is_char(0));
    assert_false(token_is_char(':'));
    assert_false(token_is_char(0x80));
    assert_true(token_is_char('~'));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_example_of_section_1_3), cmocka_unit_test(what_is_no_handshake_is_refused),
        cmocka_unit_test(another_version_is_told),    cmocka_unit_test(a_key_is_16_bytes),
        cmocka_unit_test(lists_are_cut_at_commas),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
