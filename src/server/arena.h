/* src/server/arena.h: an arena of the allocator for each reactor.
 *
 * Why:    what a reactor allocates comes from memory that no other core writes, and goes back without a lock between them.
 * Shape:  jemalloc, when the process is linked with it; the sanitizers bring an allocator of their own.
 * Thread: the one that wants an arena.
 */
#ifndef PARLEY_SERVER_ARENA_H
#define PARLEY_SERVER_ARENA_H

#include "src/base/base.h"

/* True when this thread has an arena of its own from now on. */
bool arena_take(void);

#endif
