/* net/http_test.h: what bench asks of a server beside the chat; only with http.test_endpoints.
 *
 * Shape:  GET /test/static/N: N bytes that are always the same: what libh2o itself can do, as the ceiling of
 *         history. GET /test/counters: what the owner's `counters` writes.
 * Thread: the reactor of the request.
 */
#ifndef PARLEY_NET_HTTP_TEST_H
#define PARLEY_NET_HTTP_TEST_H

#include <h2o.h>

#include "src/base/base.h"

enum { HTTP_TEST_STATIC_BYTES_MAX = 1 << 20, HTTP_TEST_COUNTERS_BYTES = 4096 };

struct http_test {
    void *owner;
    /* Writes JSON and answers its length. */
    size_t (*counters)(void *owner, char out[HTTP_TEST_COUNTERS_BYTES]);
};

/* Once for the process, before the first answer; any thread. */
void http_test_prepare(void);
/* False when the path is none of these: nothing was answered. */
bool http_test_answer(const struct http_test *test, h2o_req_t *req);

#endif
