/* net/chat_http.h: conversations, members, messages and profiles over HTTP and JSON.
 *
 * Shape:  request -> route (the table in chat_http.c) -> token -> shard request -> request_router -> answer
 *         The routes' own parts are chat_http_conversations.c, _members.c, _messages.c and _profiles.c; docs/api.md says what
 *         they take and answer.
 * Thread: the reactor's.
 * Errors: answered to the client from the one table.
 */
#ifndef PARLEY_NET_CHAT_HTTP_H
#define PARLEY_NET_CHAT_HTTP_H

#include <h2o.h>

#include "net/json.h"
#include "net/jwt_verifier.h"
#include "src/shard/request.h"

struct chat_http {
    struct request_router router;
    struct jwt_verifier *tokens;
    struct json_reader *body_reader;
    uint8_t *page;                 /* where answers are written; NULL before the first */
    uint32_t open_count, open_max; /* requests under way; more are refused */
    /* Answers above 4 KiB that are not wholly sent; instead of more, 503. One is always sent. */
    uint64_t answers_bytes, answers_bytes_max;
};

struct chat_http_options {
    uint32_t body_bytes_max, open_max;
    uint64_t answers_bytes_max;
};

PARLEY_MUST_USE int chat_http_init(struct chat_http *chat, const struct request_router *router,
                                   const struct jwt_key *key, const struct chat_http_options *options);
/* No request is under way any more. */
void chat_http_dispose(struct chat_http *chat);
/* False when the path is no route: nothing was answered. */
bool chat_http_answer(struct chat_http *chat, h2o_req_t *req);

#endif
