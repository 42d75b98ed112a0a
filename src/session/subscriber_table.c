#include "src/session/subscriber_table.h"

#include <string.h>

#include "src/base/error.h"
#include "src/base/memory.h"

enum { BUCKETS_FIRST = 64 };

/* The keys are keyed hashes already. */
static struct subscriber **bucket_of(struct subscriber **buckets, uint32_t count, const struct id16 *key)
{
    uint32_t h;
    memcpy(&h, key->bytes, sizeof h);
    return &buckets[h & (count - 1)];
}

static void link_into(struct subscriber **head, struct subscriber *s)
{
    s->next = *head;
    s->back = head;
    if (s->next)
        s->next->back = &s->next;
    *head = s;
}

int subscriber_table_init(struct subscriber_table *t)
{
    *t = (struct subscriber_table){.bucket_count = BUCKETS_FIRST};
    t->buckets = memory_zalloc(BUCKETS_FIRST * sizeof(struct subscriber *));
    return t->buckets ? 0 : -PARLEY_ERR_NOMEM;
}

void subscriber_table_dispose(struct subscriber_table *t)
{
    memory_free(t->buckets);
    *t = (struct subscriber_table){0};
}

static void grow(struct subscriber_table *t)
{
    struct subscriber **buckets = memory_zalloc(2 * (size_t)t->bucket_count * sizeof(struct subscriber *));
    if (!buckets)
        return;
    for (uint32_t i = 0; i < t->bucket_count; i++)
        while (t->buckets[i]) {
            struct subscriber *s = t->buckets[i];
            t->buckets[i] = s->next;
            link_into(bucket_of(buckets, 2 * t->bucket_count, &s->key), s);
        }
    memory_free(t->buckets);
    t->buckets = buckets;
    t->bucket_count *= 2;
}

void subscriber_table_add(struct subscriber_table *t, struct subscriber *s)
{
    if (t->count == t->bucket_count)
        grow(t);
    link_into(bucket_of(t->buckets, t->bucket_count, &s->key), s);
    t->count++;
}

void subscriber_table_remove(struct subscriber_table *t, struct subscriber *s)
{
    parley_assert(t->count > 0 && s->back);
    if (s->next)
        s->next->back = s->back;
    *s->back = s->next;
    s->next = NULL;
    s->back = NULL;
    t->count--;
}

static struct subscriber *first_of(struct subscriber *s, const struct id16 *key)
{
    while (s && memcmp(s->key.bytes, key->bytes, sizeof key->bytes) != 0)
        s = s->next;
    return s;
}

struct subscriber *subscriber_table_find(const struct subscriber_table *t, const struct id16 *key)
{
    return first_of(*bucket_of(t->buckets, t->bucket_count, key), key);
}

struct subscriber *subscriber_table_next(const struct subscriber *s)
{
    return first_of(s->next, &s->key);
}
