/* bench/process.h: what the kernel says of another process: CPU time, memory.
 *
 * Errors: false: there is no such process, or its numbers may not be read.
 * Thread: any.
 */
#ifndef PARLEY_BENCH_PROCESS_H
#define PARLEY_BENCH_PROCESS_H

#include "src/base/base.h"

enum { PROCESS_TEXT_BYTES = 4096 };

struct process_memory {
    uint64_t rss_bytes, anonymous_bytes, private_dirty_bytes;
};

/* User and system time. */
bool process_cpu_ns(long pid, uint64_t *out);
bool process_memory(long pid, struct process_memory *out);

/* The two forms that are read: /proc/PID/stat, whose second field may hold anything, and lines of "Name:   12 kB". */
bool process_stat_ticks(const char *stat, uint64_t *ticks);
bool process_field_kib(const char *text, const char *name, uint64_t *kib);

#endif
