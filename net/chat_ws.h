/* net/chat_ws.h: the chat over a WebSocket: many sends under way, live events, and catching up.
 *
 * Shape:  GET /v1/ws with a bearer token (or ?access_token=, for browsers; ?live=false: answers only) -> 101, then text
 *         frames of JSON; docs/api.md has them.
 * Order:  messages of one connection to one conversation are decided in the order in which they came. Live messages of one
 *         conversation come in their order.
 * Thread: the reactor's.
 * Errors: told in a frame; the connection stays. A connection has at most CHAT_WS_SENDS_MAX sends under way; one more is
 *         answered with `overloaded`. Live messages for a connection with more than CHAT_WS_LIVE_QUEUED_BYTES_MAX unread
 *         bytes are dropped; it is told `lag` when it has read them.
 */
#ifndef PARLEY_NET_CHAT_WS_H
#define PARLEY_NET_CHAT_WS_H

#include "net/chat_http.h"
#include "net/ws_socket.h"

enum { CHAT_WS_SENDS_MAX = 1024, CHAT_WS_LIVE_QUEUED_BYTES_MAX = 256 << 10 };

struct live;

/* What the sessions of one reactor share. */
struct chat_ws {
    struct chat_http *chat;
    struct live *live;
    uint8_t *room;
    size_t room_bytes;
};

/* Both outlive it. */
void chat_ws_init(struct chat_ws *door, struct chat_http *chat, struct live *live);
/* No session is left. */
void chat_ws_dispose(struct chat_ws *door);
/* Answers the upgrade request; `accept` is the handshake's. */
void chat_ws_begin(struct chat_ws *door, struct ws_context *context, h2o_req_t *req, const char accept[28]);

#endif
