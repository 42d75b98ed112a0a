/* Frames from a server, in pieces of every size; our own frames, read by the server's parser. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "net/ws_frame.h"
#include "tools/client/text.h"
#include "tools/client/ws_reader.h"

enum { MESSAGE_MAX = 70000 };

static void put_frame(struct text *t, enum ws_opcode opcode, bool fin, const char *payload, size_t len)
{
    uint8_t head[WS_SERVER_HEAD_BYTES_MAX];
    text_put(t, head, ws_frame_encode_head(head, opcode, fin, len));
    text_put(t, payload, len);
}

/* Feeds the stream with `step` more bytes each time; writes down what comes. */
static void run(const struct text *stream, size_t step, struct text *trace)
{
    struct ws_reader r = {.message_bytes_max = MESSAGE_MAX};
    size_t at = 0;
    for (size_t end = 0; end < stream->len;) {
        end = step < stream->len - end ? end + step : stream->len;
        for (;;) {
            struct ws_event e;
            uint8_t *copy = malloc(end - at + 1);
            assert_non_null(copy);
            memcpy(copy, stream->data + at, end - at);
            size_t took = ws_reader_feed(&r, copy, end - at, &e);
            text_put_number(trace, e.kind);
            if (e.kind == WS_EVENT_NONE)
                trace->len--;
            else
                text_put(trace, e.payload.data, e.payload.len < 20 ? e.payload.len : 20);
            if (e.kind == WS_EVENT_DATA)
                text_put_words(trace, e.first ? e.last ? "." : "<" : e.last ? ">" : "-");
            if (e.kind == WS_EVENT_CLOSE || e.kind == WS_EVENT_FAIL)
                text_put_number(trace, e.close_code);
            free(copy);
            at += took;
            if (e.kind == WS_EVENT_FAIL)
                return;
            if (e.kind == WS_EVENT_NONE)
                break;
        }
    }
}

static void pieces_of_any_size_give_the_same(void **state)
{
    (void)state;
    struct text stream = {0};
    static char big[66000];
    memset(big, 'x', sizeof big);
    put_frame(&stream, WS_TEXT, true, "hello", 5);
    put_frame(&stream, WS_TEXT, false, "a", 1);
    put_frame(&stream, WS_PING, true, "p", 1);
    put_frame(&stream, WS_CONTINUATION, false, "b", 1);
    put_frame(&stream, WS_CONTINUATION, true, "c", 1);
    put_frame(&stream, WS_BINARY, true, big, 300);
    put_frame(&stream, WS_TEXT, true, big, sizeof big);
    put_frame(&stream, WS_PONG, true, "", 0);
    put_frame(&stream, WS_CLOSE, true, "\x03\xe9going", 7);
    struct text first = {0};
    run(&stream, stream.len, &first);
    for (size_t step = 1; step < 2000; step = step * 3 + 1) {
        struct text again = {0};
        run(&stream, step, &again);
        assert_string_equal(text_words(&first), text_words(&again));
        text_free(&again);
    }
    assert_non_null(strstr(text_words(&first), "going1001"));
    text_free(&first);
    text_free(&stream);
}

static void what_no_server_may_send_fails(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
        unsigned code;
    } bad[] = {
        {"\x81\x80mask", 6, WS_CODE_PROTOCOL},
        {"\xc1\x00", 2, WS_CODE_PROTOCOL},
        {"\x83\x00", 2, WS_CODE_PROTOCOL},
        {"\x80\x00", 2, WS_CODE_PROTOCOL},
        {"\x09\x00", 2, WS_CODE_PROTOCOL},
        {"\x89\x7e\x00\x7e", 4, WS_CODE_PROTOCOL},
        {"\x01\x01y\x81\x01z", 6, WS_CODE_PROTOCOL},
        {"\x81\x01\xff", 3, WS_CODE_BAD_UTF8},
        {"\x88\x01x", 3, WS_CODE_PROTOCOL},
        {"\x81\x7f\x00\x00\x00\x01\x00\x00\x00\x00", 10, WS_CODE_TOO_BIG},
        {"\x8b\x00", 2, WS_CODE_PROTOCOL},
    };
    for (size_t i = 0; i < PARLEY_ARRAY_COUNT(bad); i++) {
        struct text stream = {0}, trace = {0}, wanted = {0};
        text_put(&stream, bad[i].bytes, bad[i].len);
        run(&stream, stream.len, &trace);
        text_put_number(&wanted, WS_EVENT_FAIL);
        text_put_number(&wanted, bad[i].code);
        const char *words = text_words(&trace), *end = text_words(&wanted);
        assert_true(strlen(words) >= strlen(end));
        assert_string_equal(words + strlen(words) - strlen(end), end);
        text_free(&stream);
        text_free(&trace);
        text_free(&wanted);
    }
}

static void a_clients_frame_is_masked_and_the_server_reads_it(void **state)
{
    (void)state;
    uint8_t frame[64];
    const uint8_t mask[4] = {1, 2, 3, 4};
    size_t len = ws_frame_encode_masked(frame, WS_TEXT, true, span_of_words("hello"), mask);
    struct ws_event e;
    struct ws_reader ours = {.message_bytes_max = MESSAGE_MAX};
    assert_int_equal(ws_reader_feed(&ours, frame, len, &e), 0);
    assert_int_equal(e.kind, WS_EVENT_FAIL); /* a server never masks */
    struct ws_parser server = ws_parser_of(MESSAGE_MAX);
    assert_int_equal(ws_parser_feed(&server, frame, len, &e), len);
    assert_true(e.kind == WS_EVENT_DATA && e.text && span_is(e.payload, "hello"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_of_any_size_give_the_same),
        cmocka_unit_test(what_no_server_may_send_fails),
        cmocka_unit_test(a_clients_frame_is_masked_and_the_server_reads_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
