/* src/session/directory.h: which reactors have sessions of a user; or follow a large conversation.
 *
 * Why:    a user's devices may be connected to any core; one core, that of his shard, knows to which.
 * Shape:  key (user hash or conversation id) -> {reactor, count}, chained in buckets that double with the entries.
 * Owner:  directory_init gives the caller something to dispose of.
 * Thread: its reactor.
 * Errors: -PARLEY_ERR_NOMEM with nothing changed. A table that cannot grow works on, slower.
 */
#ifndef PARLEY_SESSION_DIRECTORY_H
#define PARLEY_SESSION_DIRECTORY_H

#include "src/base/base.h"

struct directory_entry {
    struct directory_entry *next;
    struct id16 key;
    uint32_t count;
    uint16_t reactor;
};

struct directory {
    struct directory_entry **buckets;
    uint32_t bucket_count, entry_count; /* a power of two */
    uint32_t *of_reactor;               /* entries of each */
};

PARLEY_MUST_USE int directory_init(struct directory *d, uint16_t reactor_count);
void directory_dispose(struct directory *d);
PARLEY_MUST_USE int directory_add(struct directory *d, const struct id16 *key, uint16_t reactor);
/* Undoes one add, which there was. */
void directory_remove(struct directory *d, const struct id16 *key, uint16_t reactor);
/* for (e = directory_find(d, key); e; e = directory_next(e)) walks over the key's reactors. */
const struct directory_entry *directory_find(const struct directory *d, const struct id16 *key);
const struct directory_entry *directory_next(const struct directory_entry *entry);

#endif
