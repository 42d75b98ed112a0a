#include "src/server/arena.h"

/* Absent in builds without jemalloc. */
extern int mallctl(const char *name, void *old, size_t *old_len, void *new_value, size_t new_len)
    __attribute__((weak));

/* Pages that were freed are kept for a while: batches and buffers come and go many times a second. */
extern const char *malloc_conf;
const char *malloc_conf =
    "background_thread:true,dirty_decay_ms:10000,muzzy_decay_ms:10000,metadata_thp:auto";

bool arena_take(void)
{
    unsigned arena;
    size_t len = sizeof arena;
    return mallctl && mallctl("arenas.create", &arena, &len, NULL, 0) == 0 &&
           mallctl("thread.arena", NULL, NULL, &arena, sizeof arena) == 0;
}
