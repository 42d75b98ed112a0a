/* tools/client/backoff.h: how long to wait before the next try, and when to give up.
 *
 * Why:    a thousand clients of a restarted server must not come back in the same moment, nor try forever.
 * Shape:  backoff_next after each failure -> milliseconds to wait, doubling from BACKOFF_FIRST_MS to BACKOFF_MAX_MS,
 *         a random half of each; backoff_reset after each success. Time comes from the caller.
 * Thread: one at a time.
 * Errors: PARLEY_ERR_END: limit_ms have passed since the first failure after a success.
 */
#ifndef PARLEY_TOOLS_BACKOFF_H
#define PARLEY_TOOLS_BACKOFF_H

#include "src/base/base.h"

enum { BACKOFF_FIRST_MS = 100, BACKOFF_MAX_MS = 5000 };

struct backoff {
    uint64_t limit_ms; /* UINT64_MAX: never gives up */
    uint64_t since_ms; /* of the first failure */
    uint32_t failures;
};

void backoff_reset(struct backoff *b);
/* `at_least_ms` is what the server asked for; 0: nothing. */
PARLEY_MUST_USE int backoff_next(struct backoff *b, uint64_t now_ms, uint64_t at_least_ms, uint64_t *wait_ms);

#endif
