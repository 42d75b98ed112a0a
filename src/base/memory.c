#include "src/base/memory.h"

#include <stdlib.h>

static _Thread_local uint64_t count, fail_from = UINT64_MAX, fail_left;

static bool planned_to_fail(void)
{
    if (count++ < fail_from || fail_left == 0)
        return false;
    fail_left--;
    return true;
}

void *memory_alloc(size_t len)
{
    return planned_to_fail() ? NULL : malloc(len ? len : 1);
}

void *memory_zalloc(size_t len)
{
    return planned_to_fail() ? NULL : calloc(1, len ? len : 1);
}

void *memory_realloc(void *p, size_t len)
{
    return planned_to_fail() ? NULL : realloc(p, len ? len : 1);
}

void memory_free(void *p)
{
    free(p);
}

void memory_fail_after(uint64_t countdown, uint64_t repeat)
{
    fail_from = repeat ? count + countdown : UINT64_MAX;
    fail_left = repeat;
}

uint64_t memory_alloc_count(void)
{
    return count;
}
