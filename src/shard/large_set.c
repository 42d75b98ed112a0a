#include "src/shard/large_set.h"

#include <string.h>

#include "src/base/error.h"
#include "src/base/memory.h"

enum { FIRST_MAX = 16 };

/* Where it is, or would be. */
static uint32_t place_of(const struct large_set *set, const struct id16 *id)
{
    uint32_t low = 0, high = set->count;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (memcmp(&set->ids[mid], id, sizeof *id) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

bool large_set_has(const struct large_set *set, const struct id16 *conversation)
{
    uint32_t at = place_of(set, conversation);
    return at < set->count && same_id(&set->ids[at], conversation);
}

int large_set_add(struct large_set *set, const struct id16 *conversation)
{
    if (large_set_has(set, conversation))
        return 0;
    if (set->count == set->max) {
        uint32_t max = set->max ? 2 * set->max : FIRST_MAX;
        struct id16 *ids = memory_realloc(set->ids, max * sizeof *ids);
        if (!ids)
            return -PARLEY_ERR_NOMEM;
        set->ids = ids;
        set->max = max;
    }
    uint32_t at = place_of(set, conversation);
    memmove(&set->ids[at + 1], &set->ids[at], (set->count - at) * sizeof *set->ids);
    set->ids[at] = *conversation;
    set->count++;
    return 0;
}

void large_set_clear(struct large_set *set)
{
    memory_free(set->ids);
    *set = (struct large_set){0};
}
