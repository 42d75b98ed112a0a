/* tools/commands/names.h: each distinct text once, by number: 0, 1, 2 ... in the order of first appearance.
 *
 * Owner:  a zeroed table is empty; names_clear frees it. Texts live as long as the table.
 * Thread: one at a time.
 * Errors: PARLEY_ERR_NOMEM, and nothing has changed.
 */
#ifndef PARLEY_TOOLS_NAMES_H
#define PARLEY_TOOLS_NAMES_H

#include "src/base/base.h"

struct names {
    struct span *list;
    uint32_t count, room;
    uint32_t *index; /* open addressing, a power of two; number plus 1, 0 is free */
    uint32_t index_room;
};

/* *fresh (may be NULL): it was not there before. */
PARLEY_MUST_USE int names_add(struct names *names, struct span text, uint32_t *number, bool *fresh);
/* The number of a text, or UINT32_MAX. */
uint32_t names_find(const struct names *names, struct span text);
void names_clear(struct names *names);
/* The same for everybody and for ever: ids that imports give are made of it. */
struct id16 names_hash(struct span text);
uint64_t names_hash_64(struct span text);

#endif
