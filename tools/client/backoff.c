#include "tools/client/backoff.h"

#include <sodium.h>

#include "src/base/error.h"

void backoff_reset(struct backoff *b)
{
    b->failures = 0;
}

int backoff_next(struct backoff *b, uint64_t now_ms, uint64_t at_least_ms, uint64_t *wait_ms)
{
    uint64_t wait = BACKOFF_FIRST_MS;
    if (b->failures == 0)
        b->since_ms = now_ms;
    if (now_ms - b->since_ms >= b->limit_ms)
        return -PARLEY_ERR_END;
    for (uint32_t i = 0; i < b->failures && wait < BACKOFF_MAX_MS; i++)
        wait *= 2;
    if (wait > BACKOFF_MAX_MS)
        wait = BACKOFF_MAX_MS;
    wait = wait / 2 + randombytes_uniform((uint32_t)(wait / 2) + 1);
    b->failures++;
    *wait_ms = wait > at_least_ms ? wait : at_least_ms;
    return 0;
}
