/* src/base/clock.h: the clock seam.
 *
 * Why:    a test owns time; a run under the simulator replays to the same millisecond.
 * Shape:  two readings: wall time names moments and may step back; monotonic time measures and never does.
 * Thread: the real clock from any; a manual clock from the thread that drives it.
 */
#ifndef PARLEY_BASE_CLOCK_H
#define PARLEY_BASE_CLOCK_H

#include "src/base/base.h"

struct clock_source {
    uint64_t (*wall_ms)(const struct clock_source *source); /* since 1970-01-01 UTC */
    uint64_t (*monotonic_ns)(const struct clock_source *source);
};

/* The system's clocks. Owns: static, never freed. */
const struct clock_source *clock_real(void);

uint64_t clock_wall_ms(const struct clock_source *source);
uint64_t clock_monotonic_ns(const struct clock_source *source);
uint64_t clock_monotonic_ms(const struct clock_source *source);

/* The simulated twin: stands still until it is told to move. Pass `&manual->source` on. */
struct clock_manual {
    struct clock_source source;
    uint64_t wall_ns;
    uint64_t monotonic_ns;
};

void clock_manual_init(struct clock_manual *manual, uint64_t wall_ms, uint64_t monotonic_ns);
/* Time passes: both readings rise. */
void clock_manual_advance(struct clock_manual *manual, uint64_t ns);
/* Somebody sets the wall clock, perhaps back; monotonic time does not notice. */
void clock_manual_step_wall(struct clock_manual *manual, int64_t ms);

#endif
