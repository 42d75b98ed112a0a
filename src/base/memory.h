/* src/base/memory.h: the allocator seam.
 *
 * Why:    tests fail each allocation of a path in turn; the server runs on jemalloc.
 * Thread: any; the fault plan belongs to the calling thread.
 * Errors: NULL when out of memory, or when the plan says so. Never aborts.
 */
#ifndef PARLEY_BASE_MEMORY_H
#define PARLEY_BASE_MEMORY_H

#include "src/base/base.h"

/* Owns: the caller frees with memory_free. */
PARLEY_MUST_USE void *memory_alloc(size_t len);
PARLEY_MUST_USE void *memory_zalloc(size_t len);
/* On NULL, `p` is still valid and the caller's. */
PARLEY_MUST_USE void *memory_realloc(void *p, size_t len);
void memory_free(void *p);

/* Tests only: let `countdown` allocations of this thread succeed, then fail `repeat` of them. */
void memory_fail_after(uint64_t countdown, uint64_t repeat);
/* Allocations of this thread since it began. */
uint64_t memory_alloc_count(void);

#endif
