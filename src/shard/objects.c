#include "src/shard/objects.h"

#include <string.h>

#include "src/base/error.h"
#include "src/base/memory.h"

enum { SLOTS_FIRST = 64 };

void objects_init(struct objects *objects, const struct dedup_options *dedup)
{
    *objects = (struct objects){.dedup = *dedup};
}

static void destroy(struct object *o)
{
    switch (o->key.kind) {
    case OBJECT_CONVERSATION:
        conversation_destroy(&o->is.conversation);
        break;
    case OBJECT_PAGE:
        page_destroy(&o->is.page);
        break;
    case OBJECT_USER:
        user_destroy(&o->is.user);
        break;
    }
}

void objects_clear(struct objects *objects)
{
    for (uint32_t i = 0; i < objects->slot_count; i++)
        if (objects->slots[i].is.any)
            destroy(&objects->slots[i]);
    memory_free(objects->slots);
    objects_init(objects, &objects->dedup);
}

static uint32_t home_of(const struct objects *objects, const struct machine_key *key)
{
    uint64_t h;
    memcpy(&h, key->id.bytes, sizeof h);
    h = (h + key->page * 8u + (uint64_t)key->kind) *
        0x9e3779b97f4a7c15u; /* pages of one conversation spread too */
    return (uint32_t)(h >> 32) & (objects->slot_count - 1);
}

static bool same(const struct machine_key *a, const struct machine_key *b)
{
    return a->kind == b->kind && a->page == b->page && memcmp(&a->id, &b->id, sizeof a->id) == 0;
}

/* The key's slot, or the free one where it would go. */
static struct object *slot_of(const struct objects *objects, const struct machine_key *key)
{
    uint32_t at = home_of(objects, key);
    while (objects->slots[at].is.any && !same(&objects->slots[at].key, key))
        at = (at + 1) & (objects->slot_count - 1);
    return &objects->slots[at];
}

void *objects_find(const struct objects *objects, const struct machine_key *key)
{
    return objects->slot_count ? slot_of(objects, key)->is.any : NULL;
}

/* At most three quarters full, so that probing ends soon. */
static int make_room(struct objects *objects)
{
    if ((objects->count + 1) * 4ull <= objects->slot_count * 3ull)
        return 0;
    struct objects wider = *objects;
    wider.slot_count = objects->slot_count ? objects->slot_count * 2 : SLOTS_FIRST;
    wider.slots = memory_zalloc(wider.slot_count * sizeof *wider.slots);
    if (!wider.slots)
        return -PARLEY_ERR_NOMEM;
    for (uint32_t i = 0; i < objects->slot_count; i++)
        if (objects->slots[i].is.any)
            *slot_of(&wider, &objects->slots[i].key) = objects->slots[i];
    memory_free(objects->slots);
    *objects = wider;
    return 0;
}

static int make(const struct objects *objects, struct object *o)
{
    switch (o->key.kind) {
    case OBJECT_CONVERSATION:
        return conversation_create(&o->key.id, &objects->dedup, &o->is.conversation);
    case OBJECT_PAGE:
        return page_create(&o->key.id, o->key.page, &o->is.page);
    case OBJECT_USER:
        return user_create(&o->key.id, &o->is.user);
    }
    return -PARLEY_ERR_INTERNAL;
}

int objects_get(struct objects *objects, const struct machine_key *key, void **out, bool *made)
{
    *made = false;
    *out = objects_find(objects, key);
    if (*out)
        return 0;
    struct object fresh = {.key = *key};
    int err = make_room(objects);
    if (!err)
        err = make(objects, &fresh);
    if (err)
        return err;
    *slot_of(objects, key) = fresh;
    objects->count++;
    *out = fresh.is.any;
    *made = true;
    return 0;
}

void objects_remove(struct objects *objects, const struct machine_key *key)
{
    struct object *hole = objects->slot_count ? slot_of(objects, key) : NULL;
    if (!hole || !hole->is.any)
        return;
    destroy(hole);
    hole->is.any = NULL;
    objects->count--;
    /* Who was pushed past the hole moves back, so that a search never stops short of him. */
    uint32_t mask = objects->slot_count - 1, gap = (uint32_t)(hole - objects->slots);
    for (uint32_t at = (gap + 1) & mask; objects->slots[at].is.any; at = (at + 1) & mask) {
        uint32_t home = home_of(objects, &objects->slots[at].key);
        if (((at - home) & mask) < ((at - gap) & mask))
            continue;
        objects->slots[gap] = objects->slots[at];
        objects->slots[at].is.any = NULL;
        gap = at;
    }
}
