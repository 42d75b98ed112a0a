/* src/server/drain.h: how one reactor says good-bye: to many clients not all at once, and together with the others.
 *
 * Why:    clients who are all told in one moment all come back in one; and a reactor that ends first would leave others'
 *         requests to its shards without an answer.
 * Shape:  drain_begin -> drain_due, once a turn, until all are told -> drain_quiet -> drain_over
 * Thread: a drain is its reactor's; drain_barrier is shared and atomic.
 */
#ifndef PARLEY_SERVER_DRAIN_H
#define PARLEY_SERVER_DRAIN_H

#include <stdatomic.h>

#include "src/base/base.h"

struct drain {
    uint64_t begin_ms, spread_ms, until_ms; /* until 0: not begun */
    uint32_t total, told;
    bool quiet;
};

/* How many reactors have nothing under way any more. */
typedef _Atomic uint32_t drain_barrier;

/* `total` clients are told within half of the grace, a thousand a second when they are few. */
void drain_begin(struct drain *d, uint64_t now_ms, uint64_t grace_ms, uint32_t total);
static inline bool drain_begun(const struct drain *d)
{
    return d->until_ms != 0;
}
/* How many more to tell now; after the spread: all, whoever came meanwhile too. The caller adds to `told`. */
uint32_t drain_due(const struct drain *d, uint64_t now_ms);
/* This reactor has nothing of its own under way. True when it is the last to say so: the others are to be woken. */
PARLEY_MUST_USE bool drain_quiet(struct drain *d, drain_barrier *barrier, uint32_t reactor_count);
/* Nobody has, or the time is over. */
bool drain_over(const struct drain *d, uint64_t now_ms, const drain_barrier *barrier, uint32_t reactor_count);

#endif
