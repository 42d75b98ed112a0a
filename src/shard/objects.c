#include "src/shard/objects.h"

#include <string.h>

#include "src/base/error.h"
#include "src/base/memory.h"

enum { SLOTS_FIRST = 64 };

void objects_init(struct objects *objects, const struct dedup_options *dedup)
{
    *objects = (struct objects){.dedup = *dedup};
}

void objects_destroy_one(enum object_kind kind, void *any)
{
    struct conversation *conversation = any;
    struct page *page = any;
    struct user *user = any;
    switch (kind) {
    case OBJECT_CONVERSATION:
        conversation_destroy(&conversation);
        break;
    case OBJECT_PAGE:
        page_destroy(&page);
        break;
    case OBJECT_USER:
        user_destroy(&user);
        break;
    }
}

static void destroy_node(struct object *node)
{
    parley_assert(!node->given);
    if (node->is.any)
        objects_destroy_one(node->key.kind, node->is.any);
    memory_free(node);
}

void objects_clear(struct objects *objects)
{
    for (uint32_t i = 0; i < objects->slot_count; i++)
        if (objects->slots[i])
            destroy_node(objects->slots[i]);
    memory_free(objects->slots);
    objects_init(objects, &objects->dedup);
}

static uint32_t home_of(const struct objects *objects, const struct machine_key *key)
{
    uint64_t h;
    memcpy(&h, key->id.bytes, sizeof h);
    h = (h + key->page * UINT64_C(8) + (uint64_t)key->kind) *
        0x9e3779b97f4a7c15u; /* pages of one conversation spread too */
    return (uint32_t)(h >> 32) & (objects->slot_count - 1);
}

static bool same(const struct machine_key *a, const struct machine_key *b)
{
    return a->kind == b->kind && a->page == b->page && memcmp(&a->id, &b->id, sizeof a->id) == 0;
}

/* The key's slot, or the free one where it would go. */
static struct object **slot_of(const struct objects *objects, const struct machine_key *key)
{
    uint32_t at = home_of(objects, key);
    while (objects->slots[at] && !same(&objects->slots[at]->key, key))
        at = (at + 1) & (objects->slot_count - 1);
    return &objects->slots[at];
}

struct object *objects_find(const struct objects *objects, const struct machine_key *key)
{
    return objects->slot_count ? *slot_of(objects, key) : NULL;
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
        if (objects->slots[i])
            *slot_of(&wider, &objects->slots[i]->key) = objects->slots[i];
    memory_free(objects->slots);
    *objects = wider;
    return 0;
}

static void used_push(struct objects *objects, struct object *node)
{
    node->used_at = ++objects->uses;
    node->used_newer = NULL;
    node->used_older = objects->used_newest;
    if (objects->used_newest)
        objects->used_newest->used_newer = node;
    else
        objects->used_oldest = node;
    objects->used_newest = node;
}

static void used_unlink(struct objects *objects, struct object *node)
{
    *(node->used_newer ? &node->used_newer->used_older : &objects->used_newest) = node->used_older;
    *(node->used_older ? &node->used_older->used_newer : &objects->used_oldest) = node->used_newer;
}

void objects_used(struct objects *objects, struct object *node)
{
    /* Who is among the newer ones stays: moving him touches two neighbours, which no cache holds. The oldest always moves:
     * all others were put before him since. */
    if (objects->uses - node->used_at < objects->count / 4 || objects->used_newest == node)
        return;
    used_unlink(objects, node);
    used_push(objects, node);
}

int objects_node(struct objects *objects, const struct machine_key *key, struct object **out)
{
    *out = objects_find(objects, key);
    if (*out)
        return 0;
    int err = make_room(objects);
    struct object *node = err ? NULL : memory_zalloc(sizeof *node);
    if (!node)
        return -PARLEY_ERR_NOMEM;
    node->key = *key;
    node->queue_tail = &node->queue;
    *slot_of(objects, key) = node;
    objects->count++;
    used_push(objects, node);
    objects_grew(objects, node, sizeof *node);
    *out = node;
    return 0;
}

int objects_make(struct objects *objects, struct object *node)
{
    int err = -PARLEY_ERR_INTERNAL;
    parley_assert(!node->is.any);
    switch (node->key.kind) {
    case OBJECT_CONVERSATION:
        err = conversation_create(&node->key.id, &objects->dedup, &node->is.conversation);
        break;
    case OBJECT_PAGE:
        err = page_create(&node->key.id, node->key.page, &node->is.page);
        break;
    case OBJECT_USER:
        err = user_create(&node->key.id, &node->is.user);
        break;
    }
    if (!err)
        objects_measure(objects, node);
    return err;
}

void objects_give(struct objects *objects, struct object *node, void *any)
{
    parley_assert(!node->is.any);
    node->is.any = any;
    objects_measure(objects, node);
}

void objects_remove(struct objects *objects, struct object *node)
{
    struct object **hole = slot_of(objects, &node->key);
    parley_assert(*hole == node && !node->loading && !node->queue && !node->dirty_from && !node->flying);
    *hole = NULL;
    objects->count--;
    objects->bytes -= node->bytes;
    used_unlink(objects, node);
    destroy_node(node);
    /* Who was pushed past the hole moves back, so that a search never stops short of him. */
    uint32_t mask = objects->slot_count - 1, gap = (uint32_t)(hole - objects->slots);
    for (uint32_t at = (gap + 1) & mask; objects->slots[at]; at = (at + 1) & mask) {
        uint32_t home = home_of(objects, &objects->slots[at]->key);
        if (((at - home) & mask) < ((at - gap) & mask))
            continue;
        objects->slots[gap] = objects->slots[at];
        objects->slots[at] = NULL;
        gap = at;
    }
}

void objects_grew(struct objects *objects, struct object *node, size_t bytes)
{
    node->bytes += bytes;
    objects->bytes += bytes;
}

void objects_measure(struct objects *objects, struct object *node)
{
    size_t bytes = sizeof *node;
    if (node->is.any && node->key.kind == OBJECT_CONVERSATION)
        bytes += conversation_bytes(node->is.conversation);
    else if (node->is.any)
        bytes += node->key.kind == OBJECT_PAGE ? page_bytes(node->is.page) : sizeof *node->is.user;
    objects->bytes = objects->bytes - node->bytes + bytes;
    node->bytes = bytes;
}

int object_apply(struct object *node, const struct event *event, uint64_t position)
{
    switch (node->key.kind) {
    case OBJECT_CONVERSATION:
        return machine_apply_conversation(node->is.conversation, event, position);
    case OBJECT_PAGE:
        return machine_apply_page(node->is.page, event, position);
    case OBJECT_USER:
        return machine_apply_user(node->is.user, event, position);
    }
    return -PARLEY_ERR_INTERNAL;
}

uint64_t object_position(const struct object *node)
{
    switch (node->key.kind) {
    case OBJECT_CONVERSATION:
        return node->is.conversation->position;
    case OBJECT_PAGE:
        return node->is.page->position;
    case OBJECT_USER:
        return node->is.user->position;
    }
    return 0;
}

static uint64_t ahead_position(const struct object *node)
{
    switch (node->key.kind) {
    case OBJECT_CONVERSATION:
        return node->is.conversation->ahead_position;
    case OBJECT_PAGE:
        return node->is.page->ahead_position;
    case OBJECT_USER:
        return node->is.user->ahead_position;
    }
    return 0;
}

bool object_is_nothing(const struct object *node)
{
    return !node->is.any || (object_position(node) == 0 && ahead_position(node) == 0);
}
