/* net/chat_http.h: conversations and messages over HTTP and JSON.
 *
 * Shape:  POST /v1/conversations                   {"type","client_id","title"?,"members"?}
 *         POST /v1/conversations/{id}/messages     {"client_msg_id","body","content_type"?,"created_at"?}
 *         GET  /v1/conversations/{id}/messages     ?after= | ?before=, &limit=1..200
 *         request -> token -> command -> request_router -> answer
 * Thread: the reactor's.
 * Errors: answered to the client from the one table.
 */
#ifndef PARLEY_NET_CHAT_HTTP_H
#define PARLEY_NET_CHAT_HTTP_H

#include <h2o.h>

#include "net/json.h"
#include "net/jwt.h"
#include "src/shard/request.h"

struct chat_http {
    struct request_router router;
    struct jwt_key key;
    struct json_reader *token_reader, *body_reader;
    uint32_t open_count, open_max; /* requests under way; more are refused */
};

PARLEY_MUST_USE int chat_http_init(struct chat_http *chat, const struct request_router *router,
                                   const struct jwt_key *key, uint32_t body_bytes_max, uint32_t open_max);
/* No request is under way any more. */
void chat_http_dispose(struct chat_http *chat);
/* False when the path is none of these: nothing was answered. */
bool chat_http_answer(struct chat_http *chat, h2o_req_t *req);

#endif
