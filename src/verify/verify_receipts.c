/* What the log says that members have read and got: no row may say less. Open addressing; ids are keyed hashes already. */
#include <string.h>

#include "src/base/error.h"
#include "src/base/memory.h"
#include "src/verify/verify_internal.h"

enum { SLOTS_FIRST = 64 };

static struct verify_receipt *slot_of(const struct verify_receipts *r, const struct id16 *conversation,
                                      const struct id16 *user)
{
    uint64_t a, b;
    memcpy(&a, conversation->bytes, sizeof a);
    memcpy(&b, user->bytes, sizeof b);
    uint32_t mask = r->max - 1;
    for (uint32_t at = (uint32_t)(a ^ b) & mask;; at = (at + 1) & mask) {
        struct verify_receipt *slot = &r->slots[at];
        if (slot->delivered == 0 || (memcmp(&slot->conversation, conversation, sizeof *conversation) == 0 &&
                                     memcmp(&slot->user, user, sizeof *user) == 0))
            return slot;
    }
}

static int grow(struct verify_receipts *r)
{
    struct verify_receipts wider = {.count = r->count, .max = r->max ? 2 * r->max : SLOTS_FIRST};
    wider.slots = memory_zalloc(wider.max * sizeof *wider.slots);
    if (!wider.slots)
        return -PARLEY_ERR_NOMEM;
    for (uint32_t i = 0; i < r->max; i++)
        if (r->slots[i].delivered)
            *slot_of(&wider, &r->slots[i].conversation, &r->slots[i].user) = r->slots[i];
    memory_free(r->slots);
    *r = wider;
    return 0;
}

int verify_receipts_note(struct verify_receipts *r, const struct event *e)
{
    int err = 2 * r->count >= r->max ? grow(r) : 0;
    if (err)
        return err;
    struct verify_receipt *slot = slot_of(r, &e->conversation, &e->target_hash);
    r->count += slot->delivered == 0;
    slot->conversation = e->conversation;
    slot->user = e->target_hash;
    slot->read = e->read_seq > slot->read ? e->read_seq : slot->read;
    slot->delivered = e->delivered_seq > slot->delivered ? e->delivered_seq : slot->delivered;
    return 0;
}

const struct verify_receipt *verify_receipts_find(const struct verify_receipts *r,
                                                  const struct id16 *conversation, const struct id16 *user)
{
    const struct verify_receipt *slot = r->max ? slot_of(r, conversation, user) : NULL;
    return slot && slot->delivered ? slot : NULL;
}

void verify_receipts_clear(struct verify_receipts *r)
{
    memory_free(r->slots);
    *r = (struct verify_receipts){0};
}
