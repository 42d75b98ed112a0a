/* bench/http_response.h: the head of an HTTP/1.1 answer, as far as a load generator needs it.
 *
 * Why:    the generator shares the cores with the server, so its parser does little; but a figure counts only when the
 *         answer is whole and its length is what its head says.
 * Shape:  front of the input -> http_response_scan -> status and lengths
 * Errors: -PARLEY_ERR_AGAIN: the head is not whole yet. -PARLEY_ERR_BAD_REQUEST: no HTTP/1.1 answer, no Content-Length
 *         or two, or a Transfer-Encoding. -PARLEY_ERR_HEAD_TOO_LARGE.
 * Thread: any.
 */
#ifndef PARLEY_BENCH_HTTP_RESPONSE_H
#define PARLEY_BENCH_HTTP_RESPONSE_H

#include "src/base/base.h"

enum { HTTP_RESPONSE_HEAD_BYTES_MAX = 8192 };

struct http_response {
    int status;
    size_t head_bytes; /* with the empty line */
    size_t body_bytes;
    bool closes; /* Connection: close */
};

PARLEY_MUST_USE int http_response_scan(const uint8_t *data, size_t len, struct http_response *out);

#endif
