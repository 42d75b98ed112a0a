/* tools/client/http_pool.h: many requests over a few connections at a time.
 *
 * Why:    each change waits for the disk; the server writes those that come together in one go.
 * Shape:  job 0, 1, 2 ... -> ops.make -> request -> answer -> ops.done
 *         A connection has one request under way. Jobs are independent: their order is not kept.
 * Owner:  the ops fill texts of the pool.
 * Thread: one; blocks until all is done.
 * Errors: lost connections and answers that pass (refusal_passes) are tried again for retry_for_ms without any success,
 *         then PARLEY_ERR_IO. What ops.done says ends the run: what is under way is dropped.
 */
#ifndef PARLEY_TOOLS_HTTP_POOL_H
#define PARLEY_TOOLS_HTTP_POOL_H

#include "tools/client/http_client.h"

enum { HTTP_POOL_CONNECTIONS = 8 };

struct http_pool_ops {
    /* Fills method, path and body, which come empty. */
    int (*make)(void *owner, size_t job, const char **method, struct text *path, struct text *body);
    /* 0: done; -PARLEY_ERR_AGAIN: make the same job again, at once; another error: stop. */
    int (*done)(void *owner, size_t job, const struct http_answer *answer);
    bool (*stopped)(void);      /* may be NULL */
    void (*waits)(void *owner); /* may be NULL: the first of a row of failures that will be tried again */
};

PARLEY_MUST_USE int http_pool_run(const struct url *url, const char *token, size_t job_count,
                                  uint64_t retry_for_ms, const struct http_pool_ops *ops, void *owner);

#endif
