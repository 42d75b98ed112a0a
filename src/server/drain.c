#include "src/server/drain.h"

void drain_begin(struct drain *d, uint64_t now_ms, uint64_t grace_ms, uint32_t total)
{
    uint64_t spread_ms = total < grace_ms / 2 ? total : grace_ms / 2;
    *d = (struct drain){now_ms, spread_ms, now_ms + grace_ms, total, 0, false};
}

uint32_t drain_due(const struct drain *d, uint64_t now_ms)
{
    uint64_t passed_ms = now_ms - d->begin_ms;
    if (passed_ms >= d->spread_ms)
        return UINT32_MAX - d->told;
    uint64_t due = d->total * passed_ms / d->spread_ms;
    return due > d->told ? (uint32_t)due - d->told : 0;
}

bool drain_quiet(struct drain *d, drain_barrier *barrier, uint32_t reactor_count)
{
    if (d->quiet)
        return false;
    d->quiet = true;
    return atomic_fetch_add_explicit(barrier, 1, memory_order_acq_rel) + 1 == reactor_count;
}

bool drain_over(const struct drain *d, uint64_t now_ms, const drain_barrier *barrier, uint32_t reactor_count)
{
    return now_ms >= d->until_ms || atomic_load_explicit(barrier, memory_order_acquire) == reactor_count;
}
