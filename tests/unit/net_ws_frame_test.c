/* WebSocket frames: every rule of RFC 6455 that a server must hold its peer to, and wslay as the oracle. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <cmocka.h>
#include <wslay/wslay.h>

#include "net/utf8_stream.h"
#include "net/ws_frame.h"
#include "net/ws_message.h"
#include "src/base/error.h"
#include "src/base/memory.h"

enum { MESSAGE_MAX = 1000, TRACE_MAX = 1 << 16, STREAM_MAX = 1 << 14 };

struct trace {
    char text[TRACE_MAX];
    size_t len;
};

static struct trace trace_mine, trace_other;
static bool wslay_is_milder; /* the frame that run() ended with had no mask, or perhaps not a whole head */
static const uint8_t MASK[4] = {0x37, 0xfa, 0x21, 0x3d};

static void trace_event(struct trace *t, const char *kind, unsigned number, const uint8_t *data, size_t len)
{
    int n = snprintf(t->text + t->len, TRACE_MAX - t->len, "%s %u ", kind, number);
    t->len += (size_t)n;
    for (size_t i = 0; i < len && t->len + 3 < TRACE_MAX; i++)
        t->len += (size_t)snprintf(t->text + t->len, TRACE_MAX - t->len, "%02x", data[i]);
    t->len += (size_t)snprintf(t->text + t->len, TRACE_MAX - t->len, "\n");
    assert_true(t->len + 8 < TRACE_MAX);
}

/* Hands the parser a heap copy of exactly the bytes that are here, `step` more each time, so that the address
 * sanitizer sees a read behind them. Returns the bytes left over. */
static size_t run(const uint8_t *stream, size_t len, size_t step, struct trace *t)
{
    struct ws_parser p = ws_parser_of(MESSAGE_MAX);
    struct ws_message m = {0};
    t->len = 0;
    t->text[0] = 0;
    size_t at = 0, end = 0;
    while (end < len) {
        end = step < len - end ? end + step : len;
        uint8_t *copy = malloc(end - at);
        assert_non_null(copy);
        memcpy(copy, stream + at, end - at);
        size_t done = 0;
        for (struct ws_event e = {.kind = WS_EVENT_DATA}; e.kind != WS_EVENT_NONE;) {
            wslay_is_milder = end - at - done < WS_HEAD_BYTES_MAX || !(copy[done + 1] & 0x80);
            size_t used = ws_parser_feed(&p, copy + done, end - at - done, &e);
            assert_true(used <= end - at - done);
            if (e.kind == WS_EVENT_NONE && !p.finished)
                assert_true(e.need_bytes > end - at - done &&
                            e.need_bytes <= MESSAGE_MAX + WS_HEAD_BYTES_MAX);
            done += used;
            struct span whole;
            bool complete;
            if (e.kind == WS_EVENT_DATA) {
                assert_int_equal(ws_message_add(&m, &e, &whole, &complete), 0);
                if (complete)
                    trace_event(t, e.text ? "text" : "binary", 0, whole.data, whole.len);
            } else if (e.kind == WS_EVENT_PING || e.kind == WS_EVENT_PONG) {
                trace_event(t, e.kind == WS_EVENT_PING ? "ping" : "pong", 0, e.payload.data, e.payload.len);
            } else if (e.kind == WS_EVENT_CLOSE) {
                trace_event(t, "close", e.close_code, e.payload.data, e.payload.len);
            } else if (e.kind == WS_EVENT_FAIL) {
                trace_event(t, "fail", e.close_code, NULL, 0);
                break; /* what follows is swallowed */
            }
        }
        at += done;
        free(copy);
    }
    ws_message_reset(&m);
    return len - at;
}

static size_t put(uint8_t *out, enum ws_opcode opcode, bool fin, const char *payload, size_t len)
{
    return ws_frame_encode_masked(out, opcode, fin, (struct span){(const uint8_t *)payload, len}, MASK);
}

/* One frame alone. */
static void expect_frame(enum ws_opcode opcode, bool fin, const char *payload, size_t len, const char *want)
{
    uint8_t buf[2048];
    run(buf, put(buf, opcode, fin, payload, len), SIZE_MAX, &trace_mine);
    assert_string_equal(trace_mine.text, want);
}

static void expect_bytes(const char *bytes, size_t len, const char *want)
{
    run((const uint8_t *)bytes, len, SIZE_MAX, &trace_mine);
    assert_string_equal(trace_mine.text, want);
}

static void the_examples_of_section_5_7(void **state)
{
    (void)state;
    expect_bytes("\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", 11, "text 0 48656c6c6f\n");
    expect_bytes("\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", 11, "pong 0 48656c6c6f\n");
    uint8_t head[WS_SERVER_HEAD_BYTES_MAX];
    assert_int_equal(ws_frame_encode_head(head, WS_TEXT, true, 5), 2);
    assert_memory_equal(head, "\x81\x05", 2);
    assert_int_equal(ws_frame_encode_head(head, WS_BINARY, true, 256), 4);
    assert_memory_equal(head, "\x82\x7e\x01\x00", 4);
    assert_int_equal(ws_frame_encode_head(head, WS_BINARY, true, 65536), 10);
    assert_memory_equal(head, "\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00", 10);
}

static void fragments_join_around_control_frames(void **state)
{
    (void)state;
    uint8_t buf[256];
    size_t n = put(buf, WS_TEXT, false, "a\xe2", 2); /* a euro sign, cut in the middle */
    n += put(buf + n, WS_PING, true, "p", 1);
    n += put(buf + n, WS_CONTINUATION, false, "", 0);
    n += put(buf + n, WS_CONTINUATION, true, "\x82\xac", 2);
    n += put(buf + n, WS_BINARY, true, "\xff", 1);
    run(buf, n, SIZE_MAX, &trace_mine);
    assert_string_equal(trace_mine.text, "ping 0 70\ntext 0 61e282ac\nbinary 0 ff\n");
}

static void the_first_byte_alone_can_fail(void **state)
{
    (void)state;
    for (unsigned b = 0; b < 256; b++) {
        char byte = (char)b;
        unsigned op = b & 15;
        bool good = !(b & 0x70) && (op == 1 || op == 2 || (op >= 8 && op <= 10 && (b & 0x80)));
        expect_bytes(&byte, 1, good ? "" : "fail 1002\x20\n");
    }
    uint8_t buf[64]; /* a new message inside an unfinished one */
    size_t n = put(buf, WS_TEXT, false, "a", 1);
    n += put(buf + n, WS_TEXT, true, "b", 1);
    run(buf, n, SIZE_MAX, &trace_mine);
    assert_string_equal(trace_mine.text, "fail 1002 \n");
}

static void lengths_have_one_spelling(void **state)
{
    (void)state;
    expect_bytes("\x81\x05", 2, "fail 1002 \n"); /* not masked */
    expect_bytes("\x82\xfe\x00\x7d", 4, "fail 1002 \n");
    expect_bytes("\x82\xff\0\0\0\0\0\0\xff\xff", 10, "fail 1002 \n");
    expect_bytes("\x82\xff\x80\0\0\0\0\0\0\1", 10, "fail 1002 \n");
    expect_bytes("\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff", 10, "fail 1009 \n");
    expect_bytes("\x89\xfe\x00\x7e", 2, "fail 1002 \n"); /* control frames are short */
    static const char zeros[1200];
    for (size_t len = 0; len <= MESSAGE_MAX + 1; len++) {
        uint8_t buf[1200];
        size_t n = put(buf, WS_BINARY, true, zeros, len);
        run(buf, n, SIZE_MAX, &trace_mine);
        assert_memory_equal(trace_mine.text, len <= MESSAGE_MAX ? "binary 0 " : "fail 1009 ", 9);
    }
    expect_frame(WS_PING, true, zeros, 126, "fail 1002 \n");
}

static void the_sum_of_fragments_is_bounded(void **state)
{
    (void)state;
    static const char zeros[MESSAGE_MAX];
    static uint8_t buf[4096];
    size_t n = put(buf, WS_BINARY, false, zeros, MESSAGE_MAX - 1);
    size_t fits = n + put(buf + n, WS_CONTINUATION, true, zeros, 1);
    run(buf, fits, SIZE_MAX, &trace_mine);
    assert_memory_equal(trace_mine.text, "binary 0 ", 9);
    run(buf, n + put(buf + n, WS_CONTINUATION, true, zeros, 2), SIZE_MAX, &trace_mine);
    assert_string_equal(trace_mine.text, "fail 1009 \n");
}

static void close_codes_are_checked(void **state)
{
    (void)state;
    expect_frame(WS_CLOSE, true, "", 0, "close 1005 \n");
    expect_frame(WS_CLOSE, true, "\x03", 1, "fail 1002 \n");
    expect_frame(WS_CLOSE, true, "\x03\xe8hi", 4, "close 1000 6869\n");
    expect_frame(WS_CLOSE, true, "\x03\xe8\xff", 3, "fail 1007 \n");
    for (unsigned code = 0; code < 65536; code++) {
        char two[2] = {(char)(code >> 8), (char)code};
        uint8_t buf[16];
        run(buf, put(buf, WS_CLOSE, true, two, 2), SIZE_MAX, &trace_mine);
        bool good =
            (code >= 1000 && code <= 1014 && (code < 1004 || code > 1006)) || (code >= 3000 && code < 5000);
        assert_memory_equal(trace_mine.text, good ? "close" : "fail ", 5);
    }
    uint8_t buf[64]; /* nothing after a close counts */
    size_t n = put(buf, WS_CLOSE, true, "\x03\xe8", 2);
    n += put(buf + n, WS_TEXT, true, "late", 4);
    assert_int_equal(run(buf, n, 1, &trace_mine), 0);
    assert_string_equal(trace_mine.text, "close 1000 \n");
}

static void a_close_frame_is_encoded(void **state)
{
    (void)state;
    uint8_t out[WS_CLOSE_FRAME_BYTES_MAX];
    assert_int_equal(ws_frame_encode_close(out, WS_CODE_NONE, (struct span){0}), 2);
    assert_memory_equal(out, "\x88\x00", 2);
    assert_int_equal(ws_frame_encode_close(out, 1001, (struct span){(const uint8_t *)"bye", 3}), 7);
    assert_memory_equal(out,
                        "\x88\x05\x03\xe9"
                        "bye",
                        7);
    uint8_t reason[300];
    for (size_t i = 0; i < sizeof reason; i += 2)
        memcpy(reason + i, "\xc3\xa4", 2);
    size_t n = ws_frame_encode_close(out, 1001, (struct span){reason, sizeof reason});
    assert_int_equal(n, 2 + 2 + 122); /* 123 would cut a character */
    assert_true(utf8_stream_valid(out + 4, n - 4));
}

static void bad_utf8_is_1007(void **state)
{
    (void)state;
    static const char *const bad[] = {"\x80",         "\xc0\x80",         "\xc1\xbf",         "\xe0\x9f\xbf",
                                      "\xed\xa0\x80", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5",
                                      "\xff",         "\xe2\x82",         "\xe2(\xa1",        "abcdefgh\xfe"};
    for (size_t i = 0; i < PARLEY_ARRAY_COUNT(bad); i++) {
        expect_frame(WS_TEXT, true, bad[i], strlen(bad[i]), "fail 1007 \n");
        assert_false(utf8_stream_valid((const uint8_t *)bad[i], strlen(bad[i])));
    }
    expect_frame(WS_TEXT, true, "\xf4\x8f\xbf\xbf", 4, "text 0 f48fbfbf\n");
}

/* All code points, encoded by the definition, and every prefix of each. */
static void utf8_accepts_exactly_the_code_points(void **state)
{
    (void)state;
    for (uint32_t c = 0; c < 0x120000; c++) {
        uint8_t b[4] = {(uint8_t)c};
        size_t n = 1;
        if (c >= 0x10000) {
            n = 4;
            b[0] = (uint8_t)(0xf0 | c >> 18), b[1] = 0x80 | (c >> 12 & 63);
            b[2] = 0x80 | (c >> 6 & 63), b[3] = 0x80 | (c & 63);
        } else if (c >= 0x800) {
            n = 3;
            b[0] = (uint8_t)(0xe0 | c >> 12), b[1] = 0x80 | (c >> 6 & 63), b[2] = 0x80 | (c & 63);
        } else if (c >= 0x80) {
            n = 2;
            b[0] = (uint8_t)(0xc0 | c >> 6), b[1] = 0x80 | (c & 63);
        }
        bool good = c < 0xd800 || (c > 0xdfff && c <= 0x10ffff);
        assert_int_equal(utf8_stream_valid(b, n), good);
        for (size_t cut = 1; cut < n; cut++)
            assert_false(utf8_stream_valid(b, cut));
    }
}

/* wslay, driven from one buffer. */
struct oracle {
    const uint8_t *at, *end;
};

static ssize_t oracle_recv(wslay_event_context_ptr ctx, uint8_t *buf, size_t len, int flags, void *user)
{
    (void)flags;
    struct oracle *o = user;
    size_t n = len < (size_t)(o->end - o->at) ? len : (size_t)(o->end - o->at);
    if (n == 0) {
        wslay_event_set_error(ctx, WSLAY_ERR_WOULDBLOCK);
        return -1;
    }
    memcpy(buf, o->at, n);
    o->at += n;
    return (ssize_t)n;
}

static ssize_t oracle_send(wslay_event_context_ptr ctx, const uint8_t *data, size_t len, int flags,
                           void *user)
{
    (void)ctx, (void)flags, (void)data, (void)user;
    return (ssize_t)len;
}

static void oracle_message(wslay_event_context_ptr ctx, const struct wslay_event_on_msg_recv_arg *a,
                           void *user)
{
    (void)ctx, (void)user;
    const char *kind = a->opcode == WS_TEXT    ? "text"
                       : a->opcode == WS_PING  ? "ping"
                       : a->opcode == WS_PONG  ? "pong"
                       : a->opcode == WS_CLOSE ? "close"
                                               : "binary";
    if (a->opcode == WS_CLOSE && a->msg_length == 1) /* wslay takes half a code */
        trace_event(&trace_other, "fail", 1002, NULL, 0);
    else if (a->opcode == WS_CLOSE)
        trace_event(&trace_other, kind, a->status_code ? a->status_code : 1005,
                    a->msg + (a->msg_length ? 2 : 0), a->msg_length ? a->msg_length - 2 : 0);
    else
        trace_event(&trace_other, kind, 0, a->msg, a->msg_length);
}

static void run_oracle(const uint8_t *stream, size_t len)
{
    static const struct wslay_event_callbacks callbacks = {
        .recv_callback = oracle_recv, .send_callback = oracle_send, .on_msg_recv_callback = oracle_message};
    struct oracle o = {.at = stream, .end = stream + len};
    wslay_event_context_ptr ctx;
    assert_int_equal(wslay_event_context_server_init(&ctx, &callbacks, &o), 0);
    wslay_event_config_set_max_recv_msg_length(ctx, MESSAGE_MAX);
    trace_other.len = 0;
    trace_other.text[0] = 0;
    int err = wslay_event_recv(ctx);
    if (!wslay_event_get_close_received(ctx) && !wslay_event_get_read_enabled(ctx)) {
        (void)wslay_event_send(ctx);
        /* It sends no close for what its frame layer refuses. */
        unsigned code = err == WSLAY_ERR_CALLBACK_FAILURE ? 1002 : wslay_event_get_status_code_sent(ctx);
        trace_event(&trace_other, "fail", code, NULL, 0);
    }
    wslay_event_context_free(ctx);
}

static uint64_t seed;

static unsigned dice(unsigned sides)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(seed >> 33) % sides;
}

/* A mostly valid stream of frames; texts are often cut inside characters. */
static size_t random_stream(uint8_t *out)
{
    static const char text[] = "plain, gr\xc3\xbc\xc3\x9f, \xe2\x82\xac, \xf0\x9f\x98\x80";
    size_t n = 0, said = 0;
    bool open = false, is_text = false;
    for (unsigned frames = 1 + dice(8); frames; frames--) {
        char payload[400];
        size_t len = dice(10) ? dice(40) : dice(400);
        enum ws_opcode op = dice(4) ? WS_TEXT : WS_BINARY;
        bool fin = dice(2);
        if (!dice(4)) {
            op = (enum ws_opcode)(WS_PING + dice(2));
            len = dice(126);
            fin = true;
        } else if (open) {
            op = WS_CONTINUATION;
        } else {
            is_text = op == WS_TEXT;
            said = 0;
        }
        bool control = op >= WS_CLOSE;
        if (!control && is_text && fin && dice(20))
            len += (sizeof text - 1 - (said + len) % (sizeof text - 1)) % (sizeof text - 1);
        if (len > sizeof payload)
            len = 0;
        for (size_t i = 0; i < len; i++)
            payload[i] = control || !is_text ? (char)dice(256) : text[said++ % (sizeof text - 1)];
        if (!control)
            open = !fin;
        if (!dice(40)) {
            static const unsigned codes[] = {1000, 1001, 1005, 999, 3000, 4999, 5000, 1011, 1002};
            op = WS_CLOSE, fin = true, len = dice(2) ? 2 : 10;
            unsigned code = codes[dice(PARLEY_ARRAY_COUNT(codes))];
            payload[0] = (char)(code >> 8), payload[1] = (char)code;
            memcpy(payload + 2, text + 4, 8);
        }
        n += put(out + n, op, fin, payload, len);
    }
    return n;
}

static void random_streams_mean_the_same_to_wslay(void **state)
{
    (void)state;
    static uint8_t stream[STREAM_MAX];
    unsigned failures = 0, closes = 0;
    for (unsigned round = 0; round < 20000; round++) {
        seed = round;
        size_t len = random_stream(stream);
        if (dice(2))
            for (unsigned hits = 1 + dice(2); hits; hits--)
                stream[dice((unsigned)len)] ^= (uint8_t)(1u << dice(8));
        size_t left = run(stream, len, SIZE_MAX, &trace_mine);
        run_oracle(stream, len);
        failures += strstr(trace_mine.text, "fail") != NULL;
        closes += strstr(trace_mine.text, "close") != NULL;
        /* wslay looks into unfinished frames, does not know the codes 1012 to 1014, takes unmasked frames and
         * judges no head before its end. */
        if (left || strstr(trace_mine.text, "close 101") ||
            (wslay_is_milder && strstr(trace_mine.text, "fail 1002")))
            continue;
        if (strcmp(trace_mine.text, trace_other.text) != 0)
            print_message("seed %u\n", round);
        assert_string_equal(trace_mine.text, trace_other.text);
    }
    assert_true(failures > 1000 && closes > 100);
}

static void cutting_a_stream_changes_nothing(void **state)
{
    (void)state;
    static uint8_t stream[STREAM_MAX];
    for (unsigned round = 0; round < 300; round++) {
        seed = round;
        size_t len = random_stream(stream);
        size_t left = run(stream, len, SIZE_MAX, &trace_mine);
        for (size_t step = 1; step < 20; step += 3) {
            assert_int_equal(run(stream, len, step, &trace_other), left);
            assert_string_equal(trace_mine.text, trace_other.text);
        }
    }
}

static void every_mutation_stays_inside(void **state)
{
    (void)state;
    uint8_t good[128], bad[128];
    size_t n = put(good, WS_TEXT, false, "a\xe2", 2);
    n += put(good + n, WS_PING, true, "p", 1);
    n += put(good + n, WS_CONTINUATION, true, "\x82\xac", 2);
    n += put(good + n, WS_BINARY, true, "0123456789", 10);
    n += put(good + n, WS_CLOSE, true, "\x03\xe8ok", 4);
    for (size_t at = 0; at < n; at++)
        for (unsigned b = 0; b < 256; b++) {
            memcpy(bad, good, n);
            bad[at] = (uint8_t)b;
            size_t left = run(bad, n, SIZE_MAX, &trace_mine);
            assert_int_equal(run(bad, n, 1, &trace_other), left);
            assert_string_equal(trace_mine.text, trace_other.text);
        }
}

static void joining_survives_no_memory(void **state)
{
    (void)state;
    struct ws_message m = {0};
    struct span whole;
    bool complete;
    struct ws_event first = {.kind = WS_EVENT_DATA, .first = true, .payload = {(const uint8_t *)"ab", 2}};
    struct ws_event last = {.kind = WS_EVENT_DATA, .last = true, .payload = {(const uint8_t *)"cd", 2}};
    memory_fail_after(0, 1);
    assert_int_equal(ws_message_add(&m, &first, &whole, &complete), -PARLEY_ERR_NOMEM);
    assert_false(complete);
    memory_fail_after(0, 0);
    assert_int_equal(ws_message_add(&m, &first, &whole, &complete), 0);
    assert_false(complete);
    assert_int_equal(ws_message_add(&m, &last, &whole, &complete), 0);
    assert_true(complete);
    assert_int_equal(whole.len, 4);
    assert_memory_equal(whole.data, "abcd", 4);
    ws_message_reset(&m);
    assert_null(m.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_examples_of_section_5_7),
        cmocka_unit_test(fragments_join_around_control_frames),
        cmocka_unit_test(the_first_byte_alone_can_fail),
        cmocka_unit_test(lengths_have_one_spelling),
        cmocka_unit_test(the_sum_of_fragments_is_bounded),
        cmocka_unit_test(close_codes_are_checked),
        cmocka_unit_test(a_close_frame_is_encoded),
        cmocka_unit_test(bad_utf8_is_1007),
        cmocka_unit_test(utf8_accepts_exactly_the_code_points),
        cmocka_unit_test(random_streams_mean_the_same_to_wslay),
        cmocka_unit_test(cutting_a_stream_changes_nothing),
        cmocka_unit_test(every_mutation_stays_inside),
        cmocka_unit_test(joining_survives_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
