/* net/http_intake.h: what comes in on HTTP connections before a request is whole.
 *
 * Why:    libh2o keeps a body in memory until all of it is there, and asks nobody; and it closes a connection that it refuses
 *         while the client still writes, which resets it before the answer is read.
 * Shape:  http_intake_accept gives the socket to libh2o and puts itself before libh2o's read callback (the one field of a
 *         socket that is private to libh2o, which sets it anew for each request: http_intake_turn_end puts us back).
 *
 *         read -> head scan -> may a long body be waited for? -> is there room for it? -> libh2o -> http_intake_request
 *            \-> refused: the answer, our end is shut down, and what the client still sends is read and forgotten until he
 *                closes, or has sent too much, or libh2o's time for a request is over
 *
 *         Requests that libh2o finds behind another one in its buffer are judged at the end of the turn, or when they are
 *         whole, so all pass here.
 * Bounds: bodies longer than HTTP_BODY_UNASKED_BYTES_MAX, from their head to their answer: bodies_bytes_max in all.
 * Owner:  a connection's part (80 bytes) goes with its socket, or when that becomes a WebSocket.
 * Thread: the reactor's.
 * Errors: answered to the client, and the connection closed.
 */
#ifndef PARLEY_NET_HTTP_INTAKE_H
#define PARLEY_NET_HTTP_INTAKE_H

#include <h2o.h>

#include "net/http_head.h"

enum { HTTP_BODY_UNASKED_BYTES_MAX = 4096, HTTP_REFUSED_BYTES_MAX = 16 << 20 };

struct http_intake_options {
    uint32_t body_bytes_max;   /* of one */
    uint64_t bodies_bytes_max; /* of all long ones under way */
    void *owner;
    /* Who asks with this head: may his long body be waited for? 0 or a negative enum parley_err. */
    int (*admit)(void *owner, const struct http_head *head);
};

struct http_intake {
    struct http_intake_options options;
    h2o_socket_cb read; /* libh2o's own, the same for all; NULL before the first connection */
    uint64_t bodies_bytes;
    h2o_linklist_t unhooked; /* their request has ended */
};

void http_intake_init(struct http_intake *intake, const struct http_intake_options *options);
/* Owns: takes the socket. */
void http_intake_accept(struct http_intake *intake, h2o_accept_ctx_t *context, h2o_socket_t *socket);
/* First in a request's handler: 0, or why it must be refused and its connection closed. */
PARLEY_MUST_USE int http_intake_request(struct http_intake *intake, h2o_req_t *req);
/* At the end of each loop turn. */
void http_intake_turn_end(struct http_intake *intake);

#endif
