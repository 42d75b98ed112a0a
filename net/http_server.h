/* net/http_server.h: the HTTP/1.1 door of one reactor, on libh2o.
 *
 * Why:    one place decides what is a request: the raw head is judged first (net/http_head.h), then the route.
 * Shape:  accepted socket -> net/http_intake.h -> h2o -> route -> answer, or upgrade to a WebSocket
 * Thread: the thread of the loop only.
 * Owner:  the caller destroys it after its connections are gone, or leaves it to the end of the process.
 * Errors: -PARLEY_ERR_NOMEM; what a client does wrong is answered to him.
 */
#ifndef PARLEY_NET_HTTP_SERVER_H
#define PARLEY_NET_HTTP_SERVER_H

#include <h2o.h>

#include "net/chat_http.h"
#include "net/chat_ws.h"
#include "net/http_test.h"
#include "net/ws_socket.h"
#include "src/base/base.h"

struct http_server;

struct http_server_options {
    h2o_loop_t *loop;
    struct chat_http *chat;      /* outlives the server */
    struct chat_ws *chat_ws;     /* outlives the server */
    bool test_endpoints;         /* /test/..., for conformance suites and bench */
    uint32_t body_bytes_max;     /* of a request; more is answered with 413 */
    uint64_t bodies_bytes_max;   /* of all long bodies under way; more are answered with 503 */
    uint32_t request_timeout_ms; /* head, body and idle keep-alive */
    struct ws_context_options ws;
    void *owner;
    bool (*ready)(void *owner); /* the answer of /ready */
    struct http_test test;      /* with test_endpoints */
};

PARLEY_MUST_USE int http_server_create(const struct http_server_options *options, struct http_server **out);
void http_server_destroy(struct http_server **server);
/* Owns: takes the socket. */
void http_server_accept(struct http_server *server, h2o_socket_t *socket);
/* At the end of each loop turn. */
void http_server_flush(struct http_server *server);
/* Ends idle connections, others after their request. */
void http_server_shut_down(struct http_server *server);
/* WebSockets that are open; and asks up to so many of them, not asked yet, to leave. Returns how many. */
uint32_t http_server_socket_count(const struct http_server *server);
uint32_t http_server_leave(struct http_server *server, uint32_t count_max);

#endif
