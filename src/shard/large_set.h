/* src/shard/large_set.h: which conversations are large, as every shard knows of all.
 *
 * Why:    a large conversation's events go to those who follow it, so a session must know which of its user's conversations
 *         are large; asking each owner at each connect would be too dear. A conversation never becomes small again.
 * Shape:  ids in order. Large: of MACHINE_LARGE_PAGES.
 * Owner:  large_set_clear frees it.
 * Thread: its shard's reactor.
 */
#ifndef PARLEY_SHARD_LARGE_SET_H
#define PARLEY_SHARD_LARGE_SET_H

#include "src/machine/machine.h"

struct large_set {
    struct id16 *ids;
    uint32_t count, max;
};

/* Errors: -PARLEY_ERR_NOMEM, then it is as before. */
PARLEY_MUST_USE int large_set_add(struct large_set *set, const struct id16 *conversation);
bool large_set_has(const struct large_set *set, const struct id16 *conversation);
void large_set_clear(struct large_set *set);

#endif
