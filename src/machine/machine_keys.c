/* Which objects a command needs and an event touches. */
#include "src/machine/turn.h"

struct key_list {
    struct machine_key *keys;
    uint32_t count;
};

static void want(struct key_list *l, enum object_kind kind, const struct id16 *id, uint32_t page)
{
    for (uint32_t i = 0; i < l->count; i++)
        if (l->keys[i].kind == kind && l->keys[i].page == page && same_id(&l->keys[i].id, id))
            return;
    parley_assert(l->count < MACHINE_KEYS_MAX);
    l->keys[l->count++] = (struct machine_key){.kind = kind, .id = *id, .page = page};
}

static void want_pages(struct key_list *l, const struct id16 *id, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        want(l, OBJECT_PAGE, id, i);
}

/* With one more in it, is a page to be split? */
bool turn_split_due(const struct conversation_counts *n)
{
    return n->entries + 1ull > (uint64_t)PAGE_MEMBERS_MEAN * n->page_count && n->page_count < PAGE_COUNT_MAX;
}

uint32_t machine_needs(const struct command *c, const struct conversation *conv,
                       struct machine_key keys[MACHINE_KEYS_MAX])
{
    struct key_list l = {.keys = keys};
    if (c->kind == COMMAND_PROFILE) {
        want(&l, OBJECT_USER, &c->actor_hash, 0);
        return l.count;
    }
    want(&l, OBJECT_CONVERSATION, &c->conversation, 0);
    if (!conv)
        return l.count;
    const struct conversation_counts *n = &conv->ahead;
    if (c->kind == COMMAND_CREATE) {
        if (!n->exists && c->member_count <= CREATE_MEMBERS_MAX)
            want_pages(&l, &c->conversation, page_count_for(c->member_count + 1));
        return l.count;
    }
    if (!n->exists)
        return l.count;
    want(&l, OBJECT_PAGE, &c->conversation, page_number(&c->actor_hash, n->page_count));
    if (n->page_count <= MACHINE_FANOUT_PAGES_MAX)
        want_pages(&l, &c->conversation, n->page_count);
    if (c->kind == COMMAND_SEND || c->kind == COMMAND_FENCE || c->kind == COMMAND_RECEIPT)
        return l.count;
    want(&l, OBJECT_PAGE, &c->conversation, page_number(&c->target_hash, n->page_count));
    if (c->kind == COMMAND_ADD && turn_split_due(n)) {
        want(&l, OBJECT_PAGE, &c->conversation, page_to_split(n->page_count));
        want(&l, OBJECT_PAGE, &c->conversation, n->page_count);
    }
    return l.count;
}

uint32_t machine_touches(const struct event *e, struct machine_key keys[MACHINE_KEYS_MAX])
{
    struct key_list l = {.keys = keys};
    if (e->kind == EVENT_PROFILE)
        want(&l, OBJECT_USER, &e->target_hash, 0);
    if (e->kind == EVENT_PROFILE || e->kind == EVENT_TICK)
        return l.count;
    want(&l, OBJECT_CONVERSATION, &e->conversation, 0);
    if (e->kind == EVENT_CREATED)
        want_pages(&l, &e->conversation, e->page_count);
    if (e->kind == EVENT_ADDED || e->kind == EVENT_REMOVED || e->kind == EVENT_ROLE ||
        e->kind == EVENT_RECEIPT)
        want(&l, OBJECT_PAGE, &e->conversation, e->page);
    if (e->kind == EVENT_SPLIT) {
        want(&l, OBJECT_PAGE, &e->conversation, e->from_page);
        want(&l, OBJECT_PAGE, &e->conversation, e->to_page);
    }
    return l.count;
}
