/* tests/fuzz/ws_trace.h: what a stream of WebSocket frames means, as text: to us, and to wslay, the oracle.
 *
 * Shape:  "text 68692 ..." a line for each event. A failure ends it.
 * Thread: one.
 */
#ifndef PARLEY_TESTS_FUZZ_WS_TRACE_H
#define PARLEY_TESTS_FUZZ_WS_TRACE_H

#include <stdio.h>
#include <sys/types.h>
#include <wslay/wslay.h>

#include "net/ws_message.h"
#include "tests/fuzz/fuzz.h"

enum { WS_TRACE_BYTES = 1 << 17, WS_STREAM_BYTES_MAX = 8192, WS_FUZZ_MESSAGE_MAX = 1000 };

struct ws_trace {
    char text[WS_TRACE_BYTES];
    size_t len;
};

static inline void ws_trace_put(struct ws_trace *t, const char *kind, unsigned code, const uint8_t *data,
                                size_t len)
{
    parley_assert(t->len + 2 * len + 64 < WS_TRACE_BYTES);
    t->len += (size_t)sprintf(t->text + t->len, "%s %u ", kind, code);
    for (size_t i = 0; i < len; i++)
        t->len += (size_t)sprintf(t->text + t->len, "%02x", data[i]);
    t->len += (size_t)sprintf(t->text + t->len, "\n");
}

/* The first `len` bytes of both are the same. */
static inline void ws_trace_agree(const struct ws_trace *mine, const struct ws_trace *other, size_t len)
{
    bool same = strncmp(mine->text, other->text, len) == 0;
    if (!same)
        fprintf(stderr, "-- mine\n%s-- other\n%s", mine->text, other->text);
    parley_assert(same);
}

/* An event of ours; a fragment joins the others. */
static inline void ws_trace_event(struct ws_trace *t, struct ws_message *m, const struct ws_event *e)
{
    static const char *const kinds[] = {[WS_EVENT_PING] = "ping",
                                        [WS_EVENT_PONG] = "pong",
                                        [WS_EVENT_CLOSE] = "close",
                                        [WS_EVENT_FAIL] = "fail"};
    struct span whole = {0};
    bool complete = false;
    if (e->kind == WS_EVENT_NONE)
        return;
    if (e->kind != WS_EVENT_DATA) {
        bool coded = e->kind == WS_EVENT_CLOSE || e->kind == WS_EVENT_FAIL;
        struct span payload = e->kind == WS_EVENT_FAIL ? (struct span){0} : e->payload;
        ws_trace_put(t, kinds[e->kind], coded ? e->close_code : 0, payload.data, payload.len);
        return;
    }
    int err = ws_message_add(m, e, &whole, &complete);
    parley_assert(err == 0);
    if (complete)
        ws_trace_put(t, e->text ? "text" : "binary", 0, whole.data, whole.len);
}

struct ws_oracle {
    struct span left;
    struct ws_trace *trace;
};

static inline ssize_t ws_oracle_recv(wslay_event_context_ptr ctx, uint8_t *buf, size_t len, int flags,
                                     void *user)
{
    struct ws_oracle *o = user;
    size_t n = len < o->left.len ? len : o->left.len;
    (void)flags;
    if (n == 0) {
        wslay_event_set_error(ctx, WSLAY_ERR_WOULDBLOCK);
        return -1;
    }
    memcpy(buf, o->left.data, n);
    o->left = (struct span){o->left.data + n, o->left.len - n};
    return (ssize_t)n;
}

static inline ssize_t ws_oracle_send(wslay_event_context_ptr ctx, const uint8_t *data, size_t len, int flags,
                                     void *user)
{
    (void)ctx, (void)flags, (void)data, (void)user;
    return (ssize_t)len;
}

/* Only a client asks for it. */
static inline int ws_oracle_mask(wslay_event_context_ptr ctx, uint8_t *buf, size_t len, void *user)
{
    (void)ctx, (void)user;
    memset(buf, 0, len);
    return 0;
}

static inline void ws_oracle_message(wslay_event_context_ptr ctx, const struct wslay_event_on_msg_recv_arg *a,
                                     void *user)
{
    static const char *const kinds[] = {
        [WS_TEXT] = "text", [WS_BINARY] = "binary", [WS_PING] = "ping", [WS_PONG] = "pong"};
    struct ws_oracle *o = user;
    (void)ctx;
    if (a->opcode != WS_CLOSE)
        ws_trace_put(o->trace, kinds[a->opcode], 0, a->msg, a->msg_length);
    else if (a->msg_length == 1) /* wslay takes half a code */
        ws_trace_put(o->trace, "fail", 1002, NULL, 0);
    else if (a->msg_length == 0)
        ws_trace_put(o->trace, "close", WS_CODE_NONE, NULL, 0);
    else
        ws_trace_put(o->trace, "close", a->status_code, a->msg + 2, a->msg_length - 2);
}

/* What wslay makes of the stream, as a server or a client. */
static inline void ws_oracle_run(bool server, struct span stream, struct ws_trace *t)
{
    static const struct wslay_event_callbacks callbacks = {.recv_callback = ws_oracle_recv,
                                                           .send_callback = ws_oracle_send,
                                                           .genmask_callback = ws_oracle_mask,
                                                           .on_msg_recv_callback = ws_oracle_message};
    struct ws_oracle o = {stream, t};
    wslay_event_context_ptr ctx;
    int made = server ? wslay_event_context_server_init(&ctx, &callbacks, &o)
                      : wslay_event_context_client_init(&ctx, &callbacks, &o);
    parley_assert(made == 0);
    wslay_event_config_set_max_recv_msg_length(ctx, WS_FUZZ_MESSAGE_MAX);
    t->len = 0;
    t->text[0] = 0;
    int err = wslay_event_recv(ctx);
    if (!wslay_event_get_close_received(ctx) && !wslay_event_get_read_enabled(ctx)) {
        (void)wslay_event_send(ctx);
        /* It sends no close for what its frame layer refuses. */
        ws_trace_put(t, "fail",
                     err == WSLAY_ERR_CALLBACK_FAILURE ? 1002 : wslay_event_get_status_code_sent(ctx), NULL,
                     0);
    }
    wslay_event_context_free(ctx);
}

#endif
