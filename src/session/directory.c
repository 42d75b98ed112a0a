#include "src/session/directory.h"

#include <string.h>

#include "src/base/error.h"
#include "src/base/memory.h"

enum { BUCKETS_FIRST = 64 };

/* The keys are keyed hashes already. */
static struct directory_entry **bucket_of(struct directory_entry **buckets, uint32_t count,
                                          const struct id16 *key)
{
    uint32_t h;
    memcpy(&h, key->bytes, sizeof h);
    return &buckets[h & (count - 1)];
}

int directory_init(struct directory *d, uint16_t reactor_count)
{
    *d = (struct directory){.bucket_count = BUCKETS_FIRST};
    d->buckets = memory_zalloc(BUCKETS_FIRST * sizeof *d->buckets);
    d->of_reactor = memory_zalloc(reactor_count * sizeof *d->of_reactor);
    if (d->buckets && d->of_reactor)
        return 0;
    directory_dispose(d);
    return -PARLEY_ERR_NOMEM;
}

void directory_dispose(struct directory *d)
{
    for (uint32_t i = 0; d->buckets && i < d->bucket_count; i++)
        while (d->buckets[i]) {
            struct directory_entry *e = d->buckets[i];
            d->buckets[i] = e->next;
            memory_free(e);
        }
    memory_free(d->buckets);
    memory_free(d->of_reactor);
    *d = (struct directory){0};
}

static void grow(struct directory *d)
{
    struct directory_entry **buckets = memory_zalloc(2 * (size_t)d->bucket_count * sizeof *buckets);
    if (!buckets)
        return;
    for (uint32_t i = 0; i < d->bucket_count; i++)
        while (d->buckets[i]) {
            struct directory_entry *e = d->buckets[i];
            struct directory_entry **to = bucket_of(buckets, 2 * d->bucket_count, &e->key);
            d->buckets[i] = e->next;
            e->next = *to;
            *to = e;
        }
    memory_free(d->buckets);
    d->buckets = buckets;
    d->bucket_count *= 2;
}

/* The link that leads to the entry, or to NULL. */
static struct directory_entry **place_of(const struct directory *d, const struct id16 *key, uint16_t reactor)
{
    struct directory_entry **at = bucket_of(d->buckets, d->bucket_count, key);
    while (*at && !((*at)->reactor == reactor && same_id(&(*at)->key, key)))
        at = &(*at)->next;
    return at;
}

int directory_add(struct directory *d, const struct id16 *key, uint16_t reactor)
{
    struct directory_entry *e = *place_of(d, key, reactor);
    if (e) {
        e->count++;
        return 0;
    }
    e = memory_alloc(sizeof *e);
    if (!e)
        return -PARLEY_ERR_NOMEM;
    if (d->entry_count == d->bucket_count)
        grow(d);
    struct directory_entry **to = bucket_of(d->buckets, d->bucket_count, key);
    *e = (struct directory_entry){*to, *key, 1, reactor};
    *to = e;
    d->entry_count++;
    d->of_reactor[reactor]++;
    return 0;
}

void directory_remove(struct directory *d, const struct id16 *key, uint16_t reactor)
{
    struct directory_entry **at = place_of(d, key, reactor), *e = *at;
    parley_assert(e);
    if (--e->count)
        return;
    *at = e->next;
    memory_free(e);
    d->entry_count--;
    d->of_reactor[reactor]--;
}

static const struct directory_entry *first_with(const struct directory_entry *e, const struct id16 *key)
{
    while (e && !same_id(&e->key, key))
        e = e->next;
    return e;
}

const struct directory_entry *directory_find(const struct directory *d, const struct id16 *key)
{
    return first_with(*bucket_of(d->buckets, d->bucket_count, key), key);
}

const struct directory_entry *directory_next(const struct directory_entry *entry)
{
    return first_with(entry->next, &entry->key);
}
