#include "net/http_reply.h"

#include <stdio.h>
#include <string.h>

#include "src/base/error.h"

enum { ERROR_BODY_BYTES_MAX = 512 };

/* The statuses that the error table uses; another one is a mistake of ours. */
static const char *reason_of(int status)
{
    static const struct {
        int status;
        const char *reason;
    } rows[] = {
        {200, "OK"},
        {201, "Created"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {409, "Conflict"},
        {410, "Gone"},
        {411, "Length Required"},
        {413, "Content Too Large"},
        {422, "Unprocessable Content"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {503, "Service Unavailable"},
        {507, "Insufficient Storage"},
    };
    for (size_t i = 0; i < PARLEY_ARRAY_COUNT(rows); i++)
        if (rows[i].status == status)
            return rows[i].reason;
    parley_assert(!"a status without a reason");
    return "";
}

void http_reply(h2o_req_t *req, int status, const char *content_type, struct span body)
{
    static h2o_generator_t no_more;
    req->res.status = status;
    req->res.reason = reason_of(status);
    req->res.content_length = body.len;
    h2o_add_header(&req->pool, &req->res.headers, H2O_TOKEN_CONTENT_TYPE, NULL, content_type,
                   strlen(content_type));
    bool head = h2o_memis(req->method.base, req->method.len, H2O_STRLIT("HEAD"));
    h2o_iovec_t bytes = h2o_strdup(&req->pool, (const char *)body.data, head ? 0 : body.len);
    h2o_start_response(req, &no_more);
    h2o_send(req, &bytes, head ? 0 : 1, H2O_SEND_STATE_FINAL);
}

void http_reply_json(h2o_req_t *req, int status, struct span body)
{
    http_reply(req, status, "application/json", body);
}

struct span http_reply_error_body(h2o_mem_pool_t *pool, int err, uint32_t retry_after_ms)
{
    char *body = h2o_mem_alloc_pool(pool, ERROR_BODY_BYTES_MAX), retry[48] = "";
    if (retry_after_ms)
        snprintf(retry, sizeof retry, ",\"retry_after_ms\":%u", retry_after_ms);
    /* Codes and texts are of our own table and need no escaping. */
    int n = snprintf(body, ERROR_BODY_BYTES_MAX, "{\"error\":{\"code\":\"%s\",\"message\":\"%s\"%s}}",
                     parley_err_code(err), parley_err_text(err), retry);
    parley_assert(n > 0 && (size_t)n < ERROR_BODY_BYTES_MAX);
    return (struct span){(const uint8_t *)body, (size_t)n};
}

void http_reply_error(h2o_req_t *req, int err, uint32_t retry_after_ms)
{
    http_reply_json(req, parley_err_status(err), http_reply_error_body(&req->pool, err, retry_after_ms));
}

void http_reply_error_method(h2o_req_t *req, const char *allow)
{
    h2o_iovec_t list = h2o_strdup(&req->pool, allow, strlen(allow));
    h2o_add_header_by_str(&req->pool, &req->res.headers, H2O_STRLIT("allow"), 0, NULL, list.base, list.len);
    http_reply_error(req, PARLEY_ERR_METHOD, 0);
}

void http_reply_error_and_close(h2o_req_t *req, int err)
{
    req->http1_is_persistent = 0;
    http_reply_error(req, err, 0);
}
