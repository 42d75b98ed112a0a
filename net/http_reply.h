/* net/http_reply.h: answers to HTTP requests, all of one form.
 *
 * Why:    every answer has a length (libh2o chunks some without) and every error the same body:
 *         {"error":{"code","message","field"?,"retry_after_ms"?}}.
 *         HEAD is answered as GET, without the body.
 * Thread: the reactor of the request.
 * Owner:  bodies are copied into the request's pool.
 */
#ifndef PARLEY_NET_HTTP_REPLY_H
#define PARLEY_NET_HTTP_REPLY_H

#include <h2o.h>

#include "net/fault.h"

enum {
    HTTP_ERROR_BODY_BYTES = FAULT_JSON_BYTES_MAX + 16,
    HTTP_ERROR_ANSWER_BYTES = HTTP_ERROR_BODY_BYTES + 256
};

/* What libh2o has parsed of the request: it lives as long as that. */
static inline struct span http_span(h2o_iovec_t v)
{
    return (struct span){(const uint8_t *)v.base, v.len};
}

void http_reply(h2o_req_t *req, int status, const char *content_type, struct span body);
void http_reply_json(h2o_req_t *req, int status, struct span body);
/* `err` is an enum parley_err or its negative; retry_after_ms 0: the client need not come again. */
void http_reply_error(h2o_req_t *req, int err, uint32_t retry_after_ms);
void http_reply_fault(h2o_req_t *req, int err, const struct fault *fault, uint32_t retry_after_ms);
/* The body of such an answer; the length of what was written. */
size_t http_error_body(char out[HTTP_ERROR_BODY_BYTES], int err, const struct fault *fault,
                       uint32_t retry_after_ms);
/* A whole answer to who is not listened to any more: the error, and the end of the connection. */
size_t http_error_answer(char out[HTTP_ERROR_ANSWER_BYTES], int err, uint32_t retry_after_ms);
/* 405: the path takes other methods, those of `allow`. */
void http_reply_error_method(h2o_req_t *req, const char *allow);
/* An error, and the connection ends: what follows on it cannot be trusted to be a request. */
void http_reply_error_and_close(h2o_req_t *req, int err);

#endif
