#include "net/http_reply.h"

#include <stdio.h>
#include <string.h>

#include "net/json_writer.h"
#include "src/base/error.h"

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
        {429, "Too Many Requests"},
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

size_t http_error_body(char out[HTTP_ERROR_BODY_BYTES], int err, const struct fault *fault,
                       uint32_t retry_after_ms)
{
    struct json_writer w = json_writer_of(out, HTTP_ERROR_BODY_BYTES);
    json_open_object(&w);
    json_key(&w, "error");
    fault_put(&w, err, fault, retry_after_ms);
    json_close_object(&w);
    parley_assert(!w.out.failed);
    return json_writer_len(&w);
}

size_t http_error_answer(char out[HTTP_ERROR_ANSWER_BYTES], int err, uint32_t retry_after_ms)
{
    static const struct fault bad_head = {NULL,
                                          "That is no request of HTTP/1.1, or could be read in two ways."};
    char body[HTTP_ERROR_BODY_BYTES], retry[40] = "";
    int status = parley_err_status(err);
    size_t len =
        http_error_body(body, err, err == -PARLEY_ERR_BAD_REQUEST ? &bad_head : NULL, retry_after_ms);
    if (retry_after_ms)
        snprintf(retry, sizeof retry, "retry-after: %u\r\n", (retry_after_ms + 999) / 1000);
    int n =
        snprintf(out, HTTP_ERROR_ANSWER_BYTES,
                 "HTTP/1.1 %d %s\r\nserver: parley\r\nconnection: close\r\ncontent-type: application/json\r\n"
                 "content-length: %zu\r\n%s\r\n%.*s",
                 status, reason_of(status), len, retry, (int)len, body);
    parley_assert(n > 0 && n < HTTP_ERROR_ANSWER_BYTES);
    return (size_t)n;
}

void http_reply_fault(h2o_req_t *req, int err, const struct fault *fault, uint32_t retry_after_ms)
{
    char body[HTTP_ERROR_BODY_BYTES];
    size_t len = http_error_body(body, err, fault, retry_after_ms);
    http_reply_json(req, parley_err_status(err), (struct span){(const uint8_t *)body, len});
}

void http_reply_error(h2o_req_t *req, int err, uint32_t retry_after_ms)
{
    http_reply_fault(req, err, NULL, retry_after_ms);
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
