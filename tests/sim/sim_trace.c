#include "tests/sim/sim_trace.h"

#include <stdarg.h>
#include <unistd.h>

static FILE *trace_out;
static struct sim_result *trace_result;
static uint64_t trace_step;

void sim_trace_begin(FILE *out, struct sim_result *result)
{
    trace_out = out;
    trace_result = result;
    *result = (struct sim_result){.digest = 14695981039346656037u};
}

void sim_trace_step(uint64_t step)
{
    trace_step = trace_result->steps = step;
}

struct sim_result *sim_trace_result(void)
{
    return trace_result;
}

void sim_say(const char *format, ...)
{
    char line[SIM_TEXT_BYTES];
    int at = snprintf(line, sizeof line, "%5llu ", (unsigned long long)trace_step);
    va_list args;
    va_start(args, format);
    vsnprintf(line + at, sizeof line - (size_t)at, format, args);
    va_end(args);
    for (const char *c = line; *c; c++)
        trace_result->digest = (trace_result->digest ^ (uint8_t)*c) * 1099511628211u;
    if (trace_out)
        fprintf(trace_out, "%s\n", line);
}

void sim_violation(const char *check, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(trace_result->text, sizeof trace_result->text, format, args);
    va_end(args);
    snprintf(trace_result->check, sizeof trace_result->check, "%s", check);
    trace_result->violated = true;
    sim_say("VIOLATION of %s: %s", check, trace_result->text);
    if (trace_out)
        fflush(trace_out);
    _exit(SIM_EXIT_VIOLATION);
}
