/* A connection's life:
 *
 *   upgrade -> OPEN -> (close frame queued: begin_close) -> CLOSING -> (written: on_written) -> LINGER ->
 * freed
 *                 \-> (read or write error: drop) -> freed
 *
 * In LINGER our side of the TCP connection is shut down and what the peer still sends is read and forgotten
 * until he closes or the linger time is over: closing at once, with unread bytes, would reset the connection
 * and could take the close frame from him.
 */
#include "net/ws_socket.h"

#include <h2o/http1.h>
#include <string.h>
#include <sys/socket.h>

#include "net/ws_message.h"
#include "src/base/error.h"
#include "src/base/memory.h"

#define WS_SOCKET_MAGIC 0x77735331u

/* Silence is counted in visits, two in ping_after_ms. */
enum { OUT_BYTES_FIRST = 512, VISITS_A_PING = 2, PINGS_MAX = 2 };

enum ws_state { WS_UPGRADING, WS_OPEN, WS_CLOSING, WS_LINGER };

struct ws_bytes {
    uint8_t *data;
    uint32_t len, room;
};

struct ws_socket {
    uint32_t magic;
    uint8_t state, bucket, silent_visits;
    bool is_dirty, is_writing, is_leaving, wants_drain, is_held;
    struct ws_context *context;
    h2o_socket_t *socket;
    const struct ws_socket_ops *ops;
    void *owner;
    struct ws_parser parser;
    struct ws_message message;
    struct ws_bytes filling, writing;
    h2o_timeout_entry_t linger;
    struct ws_socket *next_dirty, *next, *prev;
};

static struct ws_socket *checked(void *p)
{
    struct ws_socket *ws = p;
    parley_assert(ws && ws->magic == WS_SOCKET_MAGIC);
    return ws;
}

static void link_into(struct ws_context *context, struct ws_socket *ws)
{
    ws->bucket = (uint8_t)(context->next_bucket++ % WS_BUCKET_COUNT);
    ws->next = context->all[ws->bucket];
    if (ws->next)
        ws->next->prev = ws;
    context->all[ws->bucket] = ws;
    context->socket_count++;
}

static void unlink_from(struct ws_context *context, struct ws_socket *ws)
{
    if (ws->next)
        ws->next->prev = ws->prev;
    *(ws->prev ? &ws->prev->next : &context->all[ws->bucket]) = ws->next;
    context->socket_count--;
    for (struct ws_socket **at = &context->dirty; ws->is_dirty && *at; at = &(*at)->next_dirty)
        if (*at == ws) {
            *at = ws->next_dirty;
            break;
        }
}

/* The last moment of a connection. */
static void drop(struct ws_socket *ws)
{
    unlink_from(ws->context, ws);
    if (h2o_timeout_is_linked(&ws->linger))
        h2o_timeout_unlink(&ws->linger);
    if (ws->socket)
        h2o_socket_close(ws->socket);
    ws->ops->closed(ws->owner);
    ws_message_reset(&ws->message);
    memory_free(ws->filling.data);
    memory_free(ws->writing.data);
    ws->magic = 0;
    memory_free(ws);
}

static void mark_dirty(struct ws_socket *ws)
{
    if (ws->is_dirty)
        return;
    ws->is_dirty = true;
    ws->next_dirty = ws->context->dirty;
    ws->context->dirty = ws;
}

static int reserve(struct ws_bytes *out, uint32_t more)
{
    if (more <= out->room - out->len)
        return 0;
    uint32_t room = out->room ? out->room : OUT_BYTES_FIRST;
    while (room - out->len < more)
        room *= 2;
    uint8_t *data = memory_realloc(out->data, room);
    if (!data)
        return -PARLEY_ERR_NOMEM;
    out->data = data;
    out->room = room;
    return 0;
}

static void append(struct ws_bytes *out, const void *data, size_t len)
{
    if (len)
        memcpy(out->data + out->len, data, len);
    out->len += (uint32_t)len;
}

int ws_socket_send(struct ws_socket *ws, enum ws_opcode opcode, struct span payload)
{
    if (ws->state > WS_OPEN)
        return -PARLEY_ERR_CLOSING;
    if (payload.len > ws->context->options.out_bytes_max ||
        (uint64_t)ws->filling.len + ws->writing.len + payload.len > ws->context->options.out_bytes_max)
        return -PARLEY_ERR_FULL;
    int err = reserve(&ws->filling, (uint32_t)payload.len + WS_SERVER_HEAD_BYTES_MAX);
    if (err)
        return err;
    ws->filling.len +=
        (uint32_t)ws_frame_encode_head(ws->filling.data + ws->filling.len, opcode, true, payload.len);
    append(&ws->filling, payload.data, payload.len);
    mark_dirty(ws);
    return 0;
}

static void on_linger_over(h2o_timeout_entry_t *entry)
{
    drop(checked(H2O_STRUCT_FROM_MEMBER(struct ws_socket, linger, entry)));
}

/* It covers the write too: libh2o has no time-out for a peer who does not read. Before the upgrade h2o owns
 * the socket and its own time-outs count. */
static void start_linger_time(struct ws_socket *ws)
{
    if (!ws->socket)
        return;
    ws->linger.cb = on_linger_over;
    h2o_timeout_link(ws->context->loop, &ws->context->linger, &ws->linger);
}

static void on_read(h2o_socket_t *socket, const char *err);

static void begin_close_because(struct ws_socket *ws, unsigned code, const char *reason)
{
    struct span why = {(const uint8_t *)reason, strlen(reason)};
    if (ws->state > WS_OPEN)
        return;
    ws->state = WS_CLOSING;
    if (ws->is_held)
        h2o_socket_read_start(ws->socket, on_read); /* to hear the peer's end */
    start_linger_time(ws);
    /* The close frame may exceed out_bytes_max by its few bytes: a slow reader must still be told. */
    if (reserve(&ws->filling, WS_CLOSE_FRAME_BYTES_MAX) == 0)
        ws->filling.len += (uint32_t)ws_frame_encode_close(ws->filling.data + ws->filling.len, code, why);
    mark_dirty(ws);
}

static void begin_close(struct ws_socket *ws, unsigned code)
{
    begin_close_because(ws, code, "");
}

void ws_socket_close(struct ws_socket *ws, enum ws_close_code code)
{
    begin_close(ws, code);
}

void ws_socket_close_because(struct ws_socket *ws, enum ws_close_code code, const char *reason)
{
    begin_close_because(ws, code, reason);
}

uint32_t ws_socket_queued_bytes(const struct ws_socket *ws)
{
    return ws->filling.len + ws->writing.len;
}

/* The next flush tells when there is nothing to write. */
void ws_socket_await_drain(struct ws_socket *ws)
{
    ws->wants_drain = true;
    mark_dirty(ws);
}

static void leave(struct ws_socket *ws)
{
    ws->is_leaving = true;
    if (ws->state == WS_OPEN && ws->ops->leave)
        ws->ops->leave(ws->owner);
    else
        begin_close(ws, WS_CODE_GOING_AWAY);
}

uint32_t ws_context_leave(struct ws_context *context, uint32_t count_max)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < WS_BUCKET_COUNT; i++)
        for (struct ws_socket *ws = context->all[i]; ws && count < count_max; ws = ws->next)
            if (!ws->is_leaving) {
                leave(ws);
                count++;
            }
    return count;
}

/* -- the clock */

static void visit(struct ws_socket *ws)
{
    if (ws->state != WS_OPEN)
        return;
    if (ws->ops->tick)
        ws->ops->tick(ws->owner);
    if (++ws->silent_visits <= VISITS_A_PING || ws->silent_visits % VISITS_A_PING == 0)
        return;
    if (ws->silent_visits / VISITS_A_PING > PINGS_MAX)
        begin_close_because(ws, WS_CODE_GOING_AWAY, "no answer to pings");
    else if (ws_socket_send(ws, WS_PING, (struct span){0}) == -PARLEY_ERR_NOMEM)
        begin_close(ws, WS_CODE_TRY_LATER); /* a full buffer will tell as well that nobody reads */
}

static void on_visit(h2o_timeout_entry_t *entry)
{
    struct ws_context *context = H2O_STRUCT_FROM_MEMBER(struct ws_context, visit_entry, entry);
    for (struct ws_socket *ws = context->all[context->next_visit++ % WS_BUCKET_COUNT]; ws; ws = ws->next)
        visit(ws);
    h2o_timeout_link(context->loop, &context->visit, entry);
}

void ws_context_init(struct ws_context *context, h2o_loop_t *loop, const struct ws_context_options *options)
{
    *context = (struct ws_context){.options = *options, .loop = loop};
    h2o_timeout_init(loop, &context->linger, options->linger_ms);
    if (!options->ping_after_ms)
        return;
    h2o_timeout_init(loop, &context->visit, options->ping_after_ms / VISITS_A_PING / WS_BUCKET_COUNT + 1);
    context->visit_entry.cb = on_visit;
    h2o_timeout_link(loop, &context->visit, &context->visit_entry);
}

void ws_context_dispose(struct ws_context *context)
{
    parley_assert(context->socket_count == 0);
    h2o_timeout_dispose(context->loop, &context->linger);
    if (!context->options.ping_after_ms)
        return;
    h2o_timeout_unlink(&context->visit_entry);
    h2o_timeout_dispose(context->loop, &context->visit);
}

/* All is said: our side ends, the peer's end frees the connection. */
static void begin_linger(struct ws_socket *ws)
{
    ws->state = WS_LINGER;
    (void)shutdown(h2o_socket_get_fd(ws->socket), SHUT_WR); /* when it fails, reading tells */
}

static void tell_drained(struct ws_socket *ws)
{
    if (!ws->wants_drain || ws->state != WS_OPEN)
        return;
    ws->wants_drain = false;
    ws->ops->drained(ws->owner);
}

static void on_written(h2o_socket_t *socket, const char *err)
{
    struct ws_socket *ws = checked(socket->data);
    ws->is_writing = false;
    memory_free(ws->writing.data);
    ws->writing = (struct ws_bytes){0};
    if (err) {
        drop(ws);
        return;
    }
    if (ws->filling.len || ws->state == WS_CLOSING)
        mark_dirty(ws);
    tell_drained(ws);
}

/* Swaps the buffers and starts the one write that h2o allows. */
static void flush(struct ws_socket *ws)
{
    if (!ws->socket || ws->is_writing || ws->state == WS_LINGER)
        return;
    if (ws->filling.len == 0) {
        if (ws->state == WS_CLOSING)
            begin_linger(ws);
        tell_drained(ws);
        return;
    }
    parley_assert(!ws->writing.data);
    ws->writing = ws->filling;
    ws->filling = (struct ws_bytes){0};
    ws->is_writing = true;
    h2o_iovec_t bytes = {(char *)ws->writing.data, ws->writing.len};
    h2o_socket_write(ws->socket, &bytes, 1, on_written);
}

void ws_context_flush(struct ws_context *context)
{
    while (context->dirty) {
        struct ws_socket *ws = context->dirty;
        context->dirty = ws->next_dirty;
        ws->next_dirty = NULL;
        ws->is_dirty = false;
        flush(ws);
    }
}

static void on_data(struct ws_socket *ws, const struct ws_event *event)
{
    struct span whole;
    bool complete = false;
    if (ws_message_add(&ws->message, event, &whole, &complete) != 0)
        begin_close(ws, WS_CODE_TRY_LATER);
    else if (complete)
        ws->ops->message(ws->owner, ws, event->text, whole);
}

static void on_event(struct ws_socket *ws, const struct ws_event *event)
{
    switch (event->kind) {
    case WS_EVENT_DATA:
        on_data(ws, event);
        break;
    case WS_EVENT_PING:
        /* A peer that pings and never reads is not worth more memory: its pong is left out. */
        if (ws_socket_send(ws, WS_PONG, event->payload) == -PARLEY_ERR_NOMEM)
            begin_close(ws, WS_CODE_TRY_LATER);
        break;
    case WS_EVENT_CLOSE:
    case WS_EVENT_FAIL:
        begin_close(ws, event->close_code);
        break;
    case WS_EVENT_PONG:
    case WS_EVENT_NONE:
        break;
    }
}

/* Takes all whole frames; a callback may begin to close, nothing frees the connection within. */
static void parse(struct ws_socket *ws)
{
    uint8_t *data = (uint8_t *)ws->socket->input->bytes;
    size_t len = ws->socket->input->size, at = 0;
    while (ws->state == WS_OPEN && !ws->is_held) {
        struct ws_event event;
        size_t took = ws_parser_feed(&ws->parser, data + at, len - at, &event);
        at += took;
        if (event.kind == WS_EVENT_NONE)
            break;
        on_event(ws, &event);
    }
    h2o_buffer_consume(&ws->socket->input, ws->state == WS_OPEN ? at : len);
}

static void on_read(h2o_socket_t *socket, const char *err)
{
    struct ws_socket *ws = checked(socket->data);
    ws->silent_visits = 0;
    if (err)
        drop(ws);
    else
        parse(ws);
}

void ws_socket_hold(struct ws_socket *ws, bool held)
{
    if (ws->is_held == held)
        return;
    ws->is_held = held;
    if (held) {
        h2o_socket_read_stop(ws->socket);
        return;
    }
    h2o_socket_read_start(ws->socket, on_read);
    if (ws->socket->input->size)
        parse(ws);
}

static void on_upgraded(void *data, h2o_socket_t *socket, size_t request_bytes)
{
    struct ws_socket *ws = checked(data);
    if (!socket) { /* the request died first */
        drop(ws);
        return;
    }
    ws->socket = socket;
    if (ws->state == WS_UPGRADING)
        ws->state = WS_OPEN;
    socket->data = ws;
    h2o_buffer_consume(&socket->input, request_bytes);
    h2o_socket_read_start(socket, on_read);
    if (ws->state == WS_OPEN && ws->ops->opened)
        ws->ops->opened(ws->owner, ws);
    if (socket->input->size) /* frames that came with the request */
        parse(ws);
    if (ws->state == WS_CLOSING)
        start_linger_time(ws);
    if (ws->filling.len || ws->state == WS_CLOSING)
        mark_dirty(ws);
}

int ws_socket_upgrade(struct ws_context *context, h2o_req_t *req, const char accept[28],
                      const struct ws_socket_ops *ops, void *owner)
{
    struct ws_socket *ws = memory_zalloc(sizeof *ws);
    if (!ws)
        return -PARLEY_ERR_NOMEM;
    ws->magic = WS_SOCKET_MAGIC;
    ws->context = context;
    ws->ops = ops;
    ws->owner = owner;
    ws->parser = ws_parser_of(context->options.message_bytes_max);
    link_into(context, ws);
    req->res.status = 101;
    req->res.reason = "Switching Protocols";
    h2o_iovec_t value = h2o_strdup(&req->pool, accept, 28);
    h2o_add_header(&req->pool, &req->res.headers, H2O_TOKEN_UPGRADE, NULL, H2O_STRLIT("websocket"));
    h2o_add_header_by_str(&req->pool, &req->res.headers, H2O_STRLIT("sec-websocket-accept"), 0, NULL,
                          value.base, value.len);
    h2o_http1_upgrade(req, NULL, 0, on_upgraded, ws);
    return 0;
}
