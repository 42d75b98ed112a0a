/* src/shard/objects.h: the objects that a shard holds in memory, by key.
 *
 * Why:    every decision and every apply begins with finding its objects; what is not used for long makes room.
 * Shape:  open addressing with linear probing over nodes that stay where they are; ids are keyed hashes already, so their
 *         bytes spread. A list by use, most recent first to within a quarter, is what eviction walks from its end.
 *         A node without an object is one that is being loaded, or somebody's place in the queue for it.
 * Thread: the shard's reactor.
 * Owner:  the table owns nodes and objects; a pointer lives until its node is removed.
 */
#ifndef PARLEY_SHARD_OBJECTS_H
#define PARLEY_SHARD_OBJECTS_H

#include "src/machine/machine.h"

enum { OBJECT_TYPING_MAX = 2 };

struct shard_request;

struct object {
    struct machine_key key;
    union {
        struct conversation *conversation;
        struct page *page;
        struct user *user;
        void *any; /* NULL: not loaded */
    } is;
    size_t bytes;        /* of memory, about */
    uint64_t busy_until; /* the position behind the last record that was decided upon it */
    struct object *used_newer, *used_older;
    uint64_t used_at; /* objects.uses when it was put at the newest end */
    /* Loading. */
    bool loading;
    int load_error;
    /* Write-back's, src/shard/writeback.h. */
    uint64_t dirty_from;  /* position of the first event that no batch holds; 0: none */
    uint64_t dirty_since; /* how many bytes of log there were then */
    size_t dirty_bytes;   /* of events that no batch holds */
    uint32_t flying;      /* batches under way that hold some of it */
    struct object *dirty_older, *dirty_newer, *big_next;
    bool big, frozen;
    /* Requests that wait for it, in order; of conversations and users. */
    struct shard_request *queue, **queue_tail;
    bool pumping;
    struct object_given *given; /* dedup rows for the head of the queue */
    /* Who was told to be writing last, and when. */
    struct object_typing {
        uint64_t tag, ms;
    } typing[OBJECT_TYPING_MAX];
};

/* A dedup row that was read for a decision. */
struct object_given {
    struct object_given *next;
    struct dedup_given row;
    uint8_t *bytes; /* NULL: there is none */
};

struct objects {
    struct dedup_options dedup;
    struct object **slots;
    uint32_t count, slot_count; /* a power of two */
    size_t bytes;
    struct object *used_newest, *used_oldest;
    uint64_t uses;
};

void objects_init(struct objects *objects, const struct dedup_options *dedup);
void objects_clear(struct objects *objects);
/* NULL when there is none. */
struct object *objects_find(const struct objects *objects, const struct machine_key *key);
/* Finds, or adds a node without an object. Errors: -PARLEY_ERR_NOMEM. */
PARLEY_MUST_USE int objects_node(struct objects *objects, const struct machine_key *key, struct object **out);
/* Gives the node an empty object. Errors: -PARLEY_ERR_NOMEM. */
PARLEY_MUST_USE int objects_make(struct objects *objects, struct object *node);
/* Owns: takes the loaded object. */
void objects_give(struct objects *objects, struct object *node, void *any);
void objects_remove(struct objects *objects, struct object *node);
void objects_destroy_one(enum object_kind kind, void *any);

void objects_used(struct objects *objects, struct object *node);
/* Counts its memory anew. */
void objects_measure(struct objects *objects, struct object *node);
void objects_grew(struct objects *objects, struct object *node, size_t bytes);

/* Errors: machine_apply_*'s. */
PARLEY_MUST_USE int object_apply(struct object *node, const struct event *event, uint64_t position);
/* The last event that it contains, applied; 0: it is empty. */
uint64_t object_position(const struct object *node);
/* Neither applied nor decided events: as if it were not there. */
bool object_is_nothing(const struct object *node);

#endif
