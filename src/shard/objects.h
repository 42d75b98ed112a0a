/* src/shard/objects.h: the objects that a shard holds in memory, by key.
 *
 * Why:    every decision and every apply begins with finding its objects.
 * Shape:  open addressing with linear probing; ids are keyed hashes already, so their bytes spread.
 * Thread: the shard's reactor.
 * Owner:  the table owns its objects; a pointer lives until its object is removed.
 */
#ifndef PARLEY_SHARD_OBJECTS_H
#define PARLEY_SHARD_OBJECTS_H

#include "src/machine/machine.h"

struct object {
    struct machine_key key;
    union {
        struct conversation *conversation;
        struct page *page;
        struct user *user;
        void *any; /* NULL: the slot is free */
    } is;
};

struct objects {
    struct dedup_options dedup;
    struct object *slots;
    uint32_t count, slot_count; /* a power of two */
};

void objects_init(struct objects *objects, const struct dedup_options *dedup);
void objects_clear(struct objects *objects);
/* NULL when there is none. */
void *objects_find(const struct objects *objects, const struct machine_key *key);
/* Finds, or makes a fresh one and sets *made. Errors: -PARLEY_ERR_NOMEM. */
PARLEY_MUST_USE int objects_get(struct objects *objects, const struct machine_key *key, void **out,
                                bool *made);
void objects_remove(struct objects *objects, const struct machine_key *key);

#endif
