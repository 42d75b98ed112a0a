/* tests/sim/sim_trace.h: what a run says, and how it ends when a promise is broken.
 *
 * Why:    a violation is worth nothing without what led to it, and two runs of a seed must say the same to the byte.
 * Shape:  sim_say counts every line into a digest and prints it when there is a file. sim_must ends the process: one process
 *         makes one run (sim_main.c), so the state here is the process's.
 * Thread: one.
 */
#ifndef PARLEY_TESTS_SIM_TRACE_H
#define PARLEY_TESTS_SIM_TRACE_H

#include <stdio.h>

#include "src/base/base.h"

enum { SIM_TEXT_BYTES = 512, SIM_CHECK_BYTES = 24, SIM_EXIT_VIOLATION = 3 };

/* What a run came to; shared with the process that started it. */
struct sim_result {
    uint64_t digest, steps, events, answers, crashes, trimmed;
    bool violated, refused;
    char check[SIM_CHECK_BYTES], text[SIM_TEXT_BYTES];
};

/* `out`: where lines go, or NULL. */
void sim_trace_begin(FILE *out, struct sim_result *result);
void sim_trace_step(uint64_t step);
struct sim_result *sim_trace_result(void);

__attribute__((format(printf, 1, 2))) void sim_say(const char *format, ...);
/* `check` names the property that is violated. */
__attribute__((format(printf, 2, 3))) _Noreturn void sim_violation(const char *check, const char *format,
                                                                   ...);

#define sim_must(ok, check, ...)                                                                             \
    do {                                                                                                     \
        if (!(ok))                                                                                           \
            sim_violation(check, __VA_ARGS__);                                                               \
    } while (0)

#endif
