#include "tests/sim/sim_socket.h"

#include <stdlib.h>
#include <string.h>

#include "src/base/error.h"

enum { LINGER_MS = 2000 };

static uint32_t weight = 1, wire_bytes_max = 4096;

void sim_socket_set(uint32_t by_weight, uint32_t wire_bytes)
{
    weight = by_weight;
    wire_bytes_max = wire_bytes;
}

/* -- queues of frames */

static void append(struct sim_frames *q, struct sim_frame *frame)
{
    if (!q->first)
        q->last = &q->first;
    frame->next = NULL;
    *q->last = frame;
    q->last = &frame->next;
    q->bytes += frame->len;
    q->count++;
}

static struct sim_frame *take(struct sim_frames *q)
{
    struct sim_frame *frame = q->first;
    if (!frame)
        return NULL;
    q->first = frame->next;
    q->bytes -= frame->len;
    q->count--;
    return frame;
}

static struct sim_frame *frame_of(const void *text, size_t len, void *about)
{
    struct sim_frame *frame = malloc(sizeof *frame + len + 1);
    parley_assert(frame);
    *frame = (struct sim_frame){.about = about, .len = (uint32_t)len};
    memcpy(frame->text, text, len);
    frame->text[len] = 0;
    return frame;
}

static void clear(struct sim_frames *q)
{
    for (struct sim_frame *frame; (frame = take(q)) != NULL;)
        free(frame);
}

static void forget_heard(struct ws_socket *ws, sim_unheard_fn *unheard, void *owner)
{
    for (struct sim_frame *frame; (frame = take(&ws->heard)) != NULL; free(frame))
        unheard(owner, frame->about);
}

static void free_if_over(struct ws_socket *ws)
{
    if (!ws->door_gone || !ws->device_gone)
        return;
    clear(&ws->wire);
    free(ws);
}

/* -- as the door sees it */

int ws_socket_upgrade(struct ws_context *context, h2o_req_t *req, const char accept[28],
                      const struct ws_socket_ops *ops, void *owner)
{
    struct ws_socket *ws = calloc(1, sizeof *ws);
    (void)req, (void)accept;
    parley_assert(ws);
    ws->context = context;
    ws->ops = ops;
    ws->owner = owner;
    ws->next = context->all[0];
    context->all[0] = ws;
    context->socket_count++;
    return 0;
}

int ws_socket_send(struct ws_socket *ws, enum ws_opcode opcode, struct span payload)
{
    parley_assert(opcode == WS_TEXT && !ws->door_gone);
    if (ws->code)
        return -PARLEY_ERR_CLOSING;
    if ((uint64_t)ws_socket_queued_bytes(ws) + payload.len * weight > ws->context->options.out_bytes_max)
        return -PARLEY_ERR_FULL;
    append(&ws->filling, frame_of(payload.data, payload.len, NULL));
    return 0;
}

uint32_t ws_socket_queued_bytes(const struct ws_socket *ws)
{
    return (ws->filling.bytes + ws->writing.bytes) * weight;
}

void ws_socket_await_drain(struct ws_socket *ws)
{
    ws->wants_drain = true;
}

void ws_socket_hold(struct ws_socket *ws, bool held)
{
    ws->held = held;
}

void ws_socket_close(struct ws_socket *ws, enum ws_close_code code)
{
    if (!ws->code)
        ws->code = (uint16_t)code;
}

void ws_socket_close_because(struct ws_socket *ws, enum ws_close_code code, const char *reason)
{
    (void)reason;
    ws_socket_close(ws, code);
}

/* -- the door's end */

void sim_socket_open(struct ws_socket *ws)
{
    ws->opened = true;
    ws->ops->opened(ws->owner, ws);
}

struct sim_frame *sim_socket_hear(struct ws_socket *ws)
{
    return ws->held || ws->code ? NULL : take(&ws->heard);
}

static void fill_wire(struct ws_socket *ws)
{
    while (ws->writing.first && (ws->device_gone || ws->wire.bytes < wire_bytes_max))
        append(&ws->wire, take(&ws->writing));
}

static void tell_drained(struct ws_socket *ws)
{
    if (!ws->wants_drain || ws->code)
        return;
    ws->wants_drain = false;
    ws->ops->drained(ws->owner);
}

void sim_socket_flush(struct ws_socket *ws, uint64_t now_ms)
{
    bool wrote = ws->writing.first != NULL;
    fill_wire(ws);
    if (ws->writing.first)
        return;
    if (wrote)
        tell_drained(ws);
    if (ws->filling.first) {
        ws->writing = ws->filling;
        ws->filling = (struct sim_frames){0};
        fill_wire(ws);
    } else {
        tell_drained(ws);
    }
    if (ws->code && !ws->closing_ms)
        ws->closing_ms = now_ms + LINGER_MS;
}

void sim_socket_drop(struct ws_socket *ws, sim_unheard_fn *unheard, void *owner)
{
    for (struct ws_socket **at = &ws->context->all[0]; *at; at = &(*at)->next)
        if (*at == ws) {
            *at = ws->next;
            break;
        }
    ws->context->socket_count--;
    forget_heard(ws, unheard, owner);
    clear(&ws->filling);
    clear(&ws->writing);
    ws->door_gone = true;
    ws->ops->closed(ws->owner);
    free_if_over(ws);
}

/* -- the device's end */

struct sim_frame *sim_socket_read(struct ws_socket *ws)
{
    return take(&ws->wire);
}

void sim_socket_write(struct ws_socket *ws, const char *text, void *about)
{
    append(&ws->heard, frame_of(text, strlen(text), about));
}

bool sim_socket_ended(const struct ws_socket *ws)
{
    return !ws->wire.first && (ws->door_gone || (ws->code && !ws->writing.first && !ws->filling.first));
}

void sim_socket_hang_up(struct ws_socket *ws, sim_unheard_fn *unheard, void *owner)
{
    forget_heard(ws, unheard, owner);
    ws->device_gone = true;
    free_if_over(ws);
}
