/* net/query.h: the path and the query of a request's target.
 *
 * Why:    one strict place decodes percent signs, so that no two parts of the server see different paths.
 * Shape:  target -> query_split -> path -> query_path -> decoded segments
 *                               -> query -> query_read -> table of the parameters that the caller knows
 * Owner:  decoded text lies in the caller's scratch, at least as long as the target; spans point into it.
 * Thread: any.
 * Errors: PARLEY_ERR_BAD_REQUEST: a broken percent sign, a control character, an empty, `.` or `..` segment,
 * a
 *         `/` hidden in %2F, too many segments, or a known parameter twice; PARLEY_ERR_BAD_UTF8.
 * Source: RFC 3986 sections 2 and 3; `+` is a blank in queries (but not in paths), as browsers write them.
 */
#ifndef PARLEY_NET_QUERY_H
#define PARLEY_NET_QUERY_H

#include "net/fault.h"

enum { QUERY_SEGMENT_COUNT_MAX = 16 };

struct query_param {
    const char *name;
    bool present;
    struct span value;
};

struct query_scratch {
    uint8_t *at, *end;
};

struct query_path {
    struct span segments[QUERY_SEGMENT_COUNT_MAX];
    size_t count; /* 0 for "/" */
};

struct query_scratch query_scratch_of(void *data, size_t len);
/* `query` is empty when there is no question mark. */
void query_split(struct span target, struct span *path, struct span *query);
PARLEY_MUST_USE int query_path(struct span path, struct query_scratch *scratch, struct query_path *out);
/* Sets `present` and `value` of each param. Unknown parameters are passed over, but must be well formed. `fault` (may be
 * NULL) says what is wrong. */
PARLEY_MUST_USE int query_read(struct span query, struct query_scratch *scratch, struct query_param *params,
                               size_t count, struct fault *fault);

#endif
