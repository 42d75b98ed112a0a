/* net/http_head.h: strict reading of a raw HTTP/1 request head.
 *
 * Why:    libh2o takes conflicting lengths, Transfer-Encoding beside Content-Length, folded lines and bare
 * line feeds, and its parsed request no longer shows them. A proxy in front that reads such a head otherwise
 * lets one client write the next one's request. So the bytes are judged once more, before anything is done,
 * and on any error the answer is sent and the connection closed. Shape:  front of the input buffer ->
 * http_head_scan -> lengths and spans. Nothing is copied. Owner:  spans point into the caller's buffer.
 * Thread: any.
 * Errors: PARLEY_ERR_AGAIN:           no end of the head yet, nothing wrong in the lines so far;
 *         PARLEY_ERR_BAD_REQUEST:     not of the grammar, not HTTP/1.0 or 1.1, no or two Hosts, a second or
 * odd Content-Length, a target that is not a path (proxies' forms are refused); PARLEY_ERR_LENGTH_REQUIRED: a
 * Transfer-Encoding, whatever else there is; PARLEY_ERR_HEAD_TOO_LARGE:  a limit below. Source: RFC 9112
 * sections 2 to 6, RFC 9110 section 5.5.
 */
#ifndef PARLEY_NET_HTTP_HEAD_H
#define PARLEY_NET_HTTP_HEAD_H

#include "src/base/base.h"

enum {
    HTTP_HEAD_BYTES_MAX = 16384,
    HTTP_HEAD_LINE_BYTES_MAX = 8192,
    HTTP_HEAD_FIELD_COUNT_MAX = 100, /* as libh2o's */
    HTTP_HEAD_LENGTH_DIGITS_MAX = 18,
};

struct http_head {
    struct span method, target;
    struct span host;          /* data is NULL when there is none (HTTP/1.0 only) */
    struct span authorization; /* the first one; data is NULL when there is none */
    bool http_1_1;             /* else 1.0 */
    bool has_content_length;
    uint64_t content_length; /* the caller's limit is his to check */
    size_t head_bytes;       /* with the empty line */
    size_t field_count;
};

PARLEY_MUST_USE int http_head_scan(const uint8_t *data, size_t len, struct http_head *head);

#endif
