/* net/chat_ws.h: sending over a WebSocket: many messages under way on one connection.
 *
 * Shape:  GET /v1/ws with a bearer token (or ?access_token=, for browsers) -> 101, then text frames of JSON:
 *         > {"type":"send","conversation","client_msg_id","body","content_type"?,"created_at"?,"as"?}
 *         < {"type":"ack","client_msg_id","id","seq","duplicate"}
 *         < {"type":"error","client_msg_id"?,"error":{"code","message"}}
 *         `as` names the user that a service token acts for.
 * Order:  messages of one connection to one conversation are decided in the order in which they came.
 * Thread: the reactor's.
 * Errors: told in a frame; the connection stays. A connection has at most CHAT_WS_SENDS_MAX sends under way; one more is
 *         answered with `overloaded`.
 */
#ifndef PARLEY_NET_CHAT_WS_H
#define PARLEY_NET_CHAT_WS_H

#include "net/chat_http.h"
#include "net/ws_socket.h"

enum { CHAT_WS_SENDS_MAX = 1024 };

/* Answers the upgrade request; `accept` is the handshake's. */
void chat_ws_begin(struct chat_http *chat, struct ws_context *context, h2o_req_t *req, const char accept[28]);

#endif
