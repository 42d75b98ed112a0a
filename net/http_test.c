#include "net/http_test.h"

#include <pthread.h>
#include <string.h>

#include "net/http_reply.h"
#include "src/base/error.h"

static char text[HTTP_TEST_STATIC_BYTES_MAX];

static void fill(void)
{
    static const char line[] = "{\"seq\":12345,\"sender\":\"ann\",\"body\":\"as long as it has to be\"},";
    for (size_t at = 0; at < sizeof text; at++)
        text[at] = line[at % (sizeof line - 1)];
}

void http_test_prepare(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, fill);
}

/* The decimal number that the path ends with; 0 when there is none, or it is too large. */
static size_t number_at(const char *digits, size_t len)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        if (digits[i] < '0' || digits[i] > '9' || n > HTTP_TEST_STATIC_BYTES_MAX)
            return 0;
        n = n * 10 + (size_t)(digits[i] - '0');
    }
    return n <= HTTP_TEST_STATIC_BYTES_MAX ? n : 0;
}

/* As http_reply, but the body is never copied: it outlives the request. */
static void answer_static(h2o_req_t *req, size_t len)
{
    static h2o_generator_t no_more;
    req->res.status = 200;
    req->res.reason = "OK";
    req->res.content_length = len;
    h2o_add_header(&req->pool, &req->res.headers, H2O_TOKEN_CONTENT_TYPE, NULL,
                   H2O_STRLIT("application/json"));
    h2o_iovec_t body = h2o_iovec_init(text, len);
    h2o_start_response(req, &no_more);
    h2o_send(req, &body, 1, H2O_SEND_STATE_FINAL);
}

bool http_test_answer(const struct http_test *test, h2o_req_t *req)
{
    static const char fixed[] = "/test/static/", counters[] = "/test/counters";
    if (!h2o_memis(req->method.base, req->method.len, H2O_STRLIT("GET")))
        return false;
    if (h2o_memis(req->path.base, req->path.len, H2O_STRLIT(counters)) && test->counters) {
        char json[HTTP_TEST_COUNTERS_BYTES];
        size_t len = test->counters(test->owner, json);
        http_reply_json(req, 200, (struct span){(const uint8_t *)json, len});
        return true;
    }
    size_t skip = sizeof fixed - 1;
    if (req->path.len <= skip || memcmp(req->path.base, fixed, skip) != 0)
        return false;
    size_t len = number_at(req->path.base + skip, req->path.len - skip);
    if (len == 0)
        http_reply_error(req, PARLEY_ERR_BAD_REQUEST, 0);
    else
        answer_static(req, len);
    return true;
}
