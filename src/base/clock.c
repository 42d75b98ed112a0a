#include "src/base/clock.h"

#include <time.h>

enum { NS_PER_MS = 1000000 };
static const uint64_t NS_PER_S = 1000000000u;

static uint64_t read_ns(clockid_t id)
{
    struct timespec t;
    int failed = clock_gettime(id, &t);
    parley_assert(!failed); /* only an unknown clock id fails */
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

static uint64_t real_wall_ms(const struct clock_source *source)
{
    (void)source;
    return read_ns(CLOCK_REALTIME) / NS_PER_MS;
}

static uint64_t real_monotonic_ns(const struct clock_source *source)
{
    (void)source;
    return read_ns(CLOCK_MONOTONIC);
}

const struct clock_source *clock_real(void)
{
    static const struct clock_source real = {.wall_ms = real_wall_ms, .monotonic_ns = real_monotonic_ns};
    return &real;
}

uint64_t clock_wall_ms(const struct clock_source *source)
{
    return source->wall_ms(source);
}

uint64_t clock_monotonic_ns(const struct clock_source *source)
{
    return source->monotonic_ns(source);
}

uint64_t clock_monotonic_ms(const struct clock_source *source)
{
    return source->monotonic_ns(source) / NS_PER_MS;
}

static uint64_t manual_wall_ms(const struct clock_source *source)
{
    return ((const struct clock_manual *)source)->wall_ns / NS_PER_MS;
}

static uint64_t manual_monotonic_ns(const struct clock_source *source)
{
    return ((const struct clock_manual *)source)->monotonic_ns;
}

void clock_manual_init(struct clock_manual *manual, uint64_t wall_ms, uint64_t monotonic_ns)
{
    *manual = (struct clock_manual){
        .source = {.wall_ms = manual_wall_ms, .monotonic_ns = manual_monotonic_ns},
        .wall_ns = wall_ms * NS_PER_MS,
        .monotonic_ns = monotonic_ns,
    };
}

void clock_manual_advance(struct clock_manual *manual, uint64_t ns)
{
    manual->wall_ns += ns;
    manual->monotonic_ns += ns;
}

void clock_manual_step_wall(struct clock_manual *manual, int64_t ms)
{
    manual->wall_ns += (uint64_t)(ms * NS_PER_MS);
}
