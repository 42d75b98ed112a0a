/* net/ws_socket.h: one WebSocket connection on an upgraded h2o socket.
 *
 * Why:    reads and writes are batched: all frames of a loop turn leave in one write, and a slow reader costs
 * bounded memory, never a stalled reactor. Shape:  socket -> ws_parser -> message callback; ws_socket_send ->
 * [out buffer] -> ws_context_flush at the end of the turn -> one h2o_socket_write Owner:  a connection frees
 * itself after `closed`, the last call that its owner gets. The context outlives all of its connections.
 * Thread: the reactor of the h2o loop only.
 * Errors: what a peer does wrong closes the connection with the code of RFC 6455.
 */
#ifndef PARLEY_NET_WS_SOCKET_H
#define PARLEY_NET_WS_SOCKET_H

#include <h2o.h>

#include "net/ws_frame.h"
#include "src/base/base.h"

struct ws_socket;

/* Those marked may be NULL. */
struct ws_socket_ops {
    /* The connection is made: frames may be sent. May be NULL. */
    void (*opened)(void *owner, struct ws_socket *socket);
    void (*message)(void *owner, struct ws_socket *socket, bool text, struct span payload);
    /* Asked for by ws_socket_await_drain, once: what was queued then is written. */
    void (*drained)(void *owner);
    /* From time to time, about twice in ping_after_ms. May be NULL. */
    void (*tick)(void *owner);
    /* The server shuts down: close with WS_CODE_GOING_AWAY when all is said. NULL: it is closed at once. */
    void (*leave)(void *owner);
    void (*closed)(void *owner);
};

struct ws_context_options {
    uint32_t message_bytes_max; /* a larger message is answered with close 1009 */
    uint32_t out_bytes_max;     /* of each connection: frames not yet written */
    uint32_t linger_ms;         /* how long the peer may take to answer a close */
    uint32_t ping_after_ms;     /* silence until a ping; two without any answer end the connection. 0: none */
};

/* Every connection is in one of these lists, which the clock visits in turn: no timer for each. */
enum { WS_BUCKET_COUNT = 16 };

struct ws_context {
    struct ws_context_options options;
    h2o_loop_t *loop;
    h2o_timeout_t linger, visit;
    h2o_timeout_entry_t visit_entry;
    struct ws_socket *dirty; /* have frames to write at the end of the turn */
    struct ws_socket *all[WS_BUCKET_COUNT];
    uint32_t socket_count, next_bucket, next_visit;
};

void ws_context_init(struct ws_context *context, h2o_loop_t *loop, const struct ws_context_options *options);
/* All connections must be gone. */
void ws_context_dispose(struct ws_context *context);
/* Once at the end of each loop turn, before the loop sleeps. */
void ws_context_flush(struct ws_context *context);
/* Asks up to `count_max` connections that were not asked yet to leave. Returns how many. */
uint32_t ws_context_leave(struct ws_context *context, uint32_t count_max);

/* Answers the request with 101 and the accept value (28 characters). Until the connection is made nothing is
 * called; `closed` is called also when it never is.
 * Errors: -PARLEY_ERR_NOMEM: the request is still the caller's to answer. */
PARLEY_MUST_USE int ws_socket_upgrade(struct ws_context *context, h2o_req_t *req, const char accept[28],
                                      const struct ws_socket_ops *ops, void *owner);
/* The payload is copied.
 * Errors: -PARLEY_ERR_FULL: the reader is too slow: mark him lagging; -PARLEY_ERR_CLOSING; -PARLEY_ERR_NOMEM.
 */
PARLEY_MUST_USE int ws_socket_send(struct ws_socket *socket, enum ws_opcode opcode, struct span payload);
/* Bytes not yet taken by the kernel. */
uint32_t ws_socket_queued_bytes(const struct ws_socket *socket);
void ws_socket_await_drain(struct ws_socket *socket);
/* Reads nothing more, not even what came already, until it is called with false. Not from `message`. */
void ws_socket_hold(struct ws_socket *socket, bool held);
/* Sends a close frame behind what is queued; `closed` follows, never from within this call. */
void ws_socket_close(struct ws_socket *socket, enum ws_close_code code);
void ws_socket_close_because(struct ws_socket *socket, enum ws_close_code code, const char *reason);

#endif
