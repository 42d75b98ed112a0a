#include "tools/commands/names.h"

#include <string.h>

#include "src/base/bytes.h"
#include "src/base/error.h"
#include "src/base/hash.h"
#include "src/base/memory.h"

enum { ROOM_FIRST = 64 };

struct id16 names_hash(struct span text)
{
    static const struct hash_key key; /* zeroes: nothing is secret here */
    return hash_128(&key, text.data, text.len);
}

uint64_t names_hash_64(struct span text)
{
    struct id16 hash = names_hash(text);
    struct bytes_reader r = bytes_reader_of(hash.bytes, sizeof hash.bytes);
    return bytes_get_u64(&r);
}

/* Where the text stands in the index, or the free place where it would. */
static uint32_t slot_of(const struct names *n, struct span text)
{
    uint32_t at = (uint32_t)names_hash_64(text) & (n->index_room - 1);
    while (n->index[at]) {
        struct span other = n->list[n->index[at] - 1];
        if (other.len == text.len && (text.len == 0 || memcmp(other.data, text.data, text.len) == 0))
            break;
        at = (at + 1) & (n->index_room - 1);
    }
    return at;
}

uint32_t names_find(const struct names *n, struct span text)
{
    return n->index_room ? n->index[slot_of(n, text)] - 1 : UINT32_MAX; /* 0 - 1: none */
}

static int grow(struct names *n)
{
    uint32_t room = n->room ? n->room * 2 : ROOM_FIRST;
    struct span *list = room > n->room ? memory_realloc(n->list, room * sizeof *list) : NULL;
    if (!list)
        return -PARLEY_ERR_NOMEM;
    n->list = list;
    uint32_t *index = memory_zalloc(2 * (size_t)room * sizeof *index);
    if (!index)
        return -PARLEY_ERR_NOMEM;
    memory_free(n->index);
    n->index = index;
    n->index_room = 2 * room;
    n->room = room;
    for (uint32_t i = 0; i < n->count; i++)
        n->index[slot_of(n, n->list[i])] = i + 1;
    return 0;
}

int names_add(struct names *n, struct span text, uint32_t *number, bool *fresh)
{
    if (fresh)
        *fresh = false;
    *number = names_find(n, text);
    if (*number != UINT32_MAX)
        return 0;
    int err = n->count == n->room ? grow(n) : 0;
    if (err)
        return err;
    uint8_t *copy = memory_alloc(text.len + 1);
    if (!copy)
        return -PARLEY_ERR_NOMEM;
    if (text.len)
        memcpy(copy, text.data, text.len);
    copy[text.len] = 0;
    n->index[slot_of(n, text)] = n->count + 1;
    n->list[n->count] = (struct span){copy, text.len};
    *number = n->count++;
    if (fresh)
        *fresh = true;
    return 0;
}

void names_clear(struct names *n)
{
    for (uint32_t i = 0; i < n->count; i++)
        memory_free((void *)(uintptr_t)n->list[i].data);
    memory_free(n->list);
    memory_free(n->index);
    *n = (struct names){0};
}
