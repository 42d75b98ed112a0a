#include "src/machine/page.h"

#include <string.h>

#include "src/base/error.h"
#include "src/base/memory.h"

enum { PAGE_VERSION = 1 };

/* The greatest power of two that is not above `n`. */
static uint32_t level_of(uint32_t n)
{
    uint32_t level = 1;
    while (level <= n / 2)
        level *= 2;
    return level;
}

uint32_t page_number(const struct id16 *user_hash, uint32_t page_count)
{
    parley_assert(page_count > 0);
    struct bytes_reader r =
        bytes_reader_of(user_hash->bytes + 8, 8); /* the first half may choose the shard */
    uint32_t level = level_of(page_count), h = (uint32_t)bytes_get_u64(&r);
    uint32_t n = h & (2 * level - 1);
    return n < page_count ? n : n - level;
}

uint32_t page_to_split(uint32_t page_count)
{
    return page_count - level_of(page_count);
}

uint32_t page_count_for(uint32_t member_count)
{
    return member_count <= PAGE_MEMBERS_MEAN ? 1 : (member_count + PAGE_MEMBERS_MEAN - 1) / PAGE_MEMBERS_MEAN;
}

void page_members_destroy(struct page_members **members)
{
    struct page_members *m = *members;
    if (!m)
        return;
    for (uint32_t i = 0; i < m->count; i++)
        member_clear(&m->list[i]);
    memory_free(m->list);
    memory_free(m);
    *members = NULL;
}

static int members_reserve(struct page_members *m, uint32_t max)
{
    if (max <= m->max)
        return 0;
    struct member *list = memory_realloc(m->list, max * sizeof *list);
    if (!list)
        return -PARLEY_ERR_NOMEM;
    m->list = list;
    m->max = max;
    return 0;
}

static struct page_members *members_copy(const struct page_members *from, uint32_t extra)
{
    struct page_members *m = memory_zalloc(sizeof *m);
    if (!m || members_reserve(m, from->count + extra))
        goto failed;
    for (; m->count < from->count; m->count++)
        if (member_copy(&m->list[m->count], &from->list[m->count]))
            goto failed;
    return m;
failed:
    page_members_destroy(&m);
    return NULL;
}

/* Where the hash is or belongs. */
static uint32_t place_of(const struct page_members *m, const struct id16 *hash)
{
    uint32_t low = 0, high = m->count;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (memcmp(m->list[mid].hash.bytes, hash->bytes, sizeof hash->bytes) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

const struct member *page_find(const struct page_members *m, const struct id16 *hash)
{
    uint32_t at = place_of(m, hash);
    bool found = at < m->count && memcmp(m->list[at].hash.bytes, hash->bytes, sizeof hash->bytes) == 0;
    return found ? &m->list[at] : NULL;
}

uint32_t page_active_count(const struct page_members *m)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < m->count; i++)
        n += member_active(&m->list[i]);
    return n;
}

const struct page_members *page_view(const struct page *page)
{
    return page->ahead ? page->ahead : page->applied;
}

/* Takes the member; there is room for it. */
static void insert(struct page_members *m, const struct member *member)
{
    uint32_t at = place_of(m, &member->hash);
    parley_assert(m->count < m->max);
    memmove(&m->list[at + 1], &m->list[at], (m->count - at) * sizeof *m->list);
    m->list[at] = *member;
    m->count++;
}

/* A member is joined, or added; nothing has changed on error. */
static int join(struct page_members *m, const struct member_view *who, uint64_t id)
{
    struct member *had = (struct member *)page_find(m, &who->hash);
    if (had) {
        int rc = member_active(had) ? 0 : member_join(had, id);
        if (rc == 0)
            had->role = (uint8_t)who->role;
        return rc;
    }
    struct member member;
    if (members_reserve(m, m->count < m->max ? m->max : m->count + m->count / 4 + 1) ||
        member_of_view(&member, who))
        return -PARLEY_ERR_NOMEM;
    if (member.interval_count == 0 && member_join(&member, id)) {
        member_clear(&member);
        return -PARLEY_ERR_NOMEM;
    }
    insert(m, &member);
    return 0;
}

static int fold_list(struct page_members *m, uint32_t number, const struct event *e)
{
    struct bytes_reader r = bytes_reader_of(e->members.data, e->members.len);
    for (uint32_t i = 0; i < e->member_count; i++) {
        struct member_view who = member_get(&r);
        if (r.failed)
            return -PARLEY_ERR_CORRUPT;
        if (page_number(&who.hash, e->page_count) == number) {
            int rc = join(m, &who, e->id);
            if (rc)
                return rc;
            continue;
        }
        if (e->kind == EVENT_SPLIT && number == e->to_page)
            return -PARLEY_ERR_CORRUPT;
    }
    return 0;
}

/* Out of the page that is split go all whom the new count sends elsewhere. */
static void drop_moved(struct page_members *m, const struct event *e)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < m->count; i++) {
        if (page_number(&m->list[i].hash, e->page_count) == e->from_page)
            m->list[kept++] = m->list[i];
        else
            member_clear(&m->list[i]);
    }
    m->count = kept;
}

static int fold_one(struct page_members *m, const struct event *e)
{
    if (e->kind == EVENT_ADDED) {
        struct member_view who = {.hash = e->target_hash, .role = e->role, .user = e->target};
        return join(m, &who, e->id);
    }
    struct member *had = (struct member *)page_find(m, &e->target_hash);
    if (had && e->kind == EVENT_ROLE)
        had->role = (uint8_t)e->role;
    if (had && e->kind == EVENT_RECEIPT) {
        had->read_seq = e->read_seq;
        had->delivered_seq = e->delivered_seq;
    }
    if (had && e->kind == EVENT_REMOVED && member_active(had))
        member_leave(had, e->id);
    return 0;
}

static bool is_list(const struct event *e, uint32_t number)
{
    return e->kind == EVENT_CREATED || (e->kind == EVENT_SPLIT && number == e->to_page);
}

int page_members_after(const struct page_members *members, uint32_t number, const struct event *e,
                       struct page_members **out)
{
    uint32_t extra = is_list(e, number) ? e->member_count : e->kind == EVENT_ADDED ? 1 : 0;
    struct page_members *m = members_copy(members, extra);
    if (!m)
        return -PARLEY_ERR_NOMEM;
    int rc = 0;
    if (is_list(e, number))
        rc = fold_list(m, number, e);
    else if (e->kind == EVENT_SPLIT)
        drop_moved(m, e);
    else
        rc = fold_one(m, e);
    if (rc)
        page_members_destroy(&m);
    else
        *out = m;
    return rc;
}

void page_decided(struct page *page, struct page_members **next, uint64_t position)
{
    parley_assert(position > page->position && position > page->ahead_position);
    page_members_destroy(&page->ahead);
    page->ahead = *next;
    page->ahead_position = position;
    *next = NULL;
}

int page_apply(struct page *page, const struct event *e, uint64_t position)
{
    if (page->position >= position)
        return 0;
    int rc = 0;
    if (page->ahead &&
        page->ahead_position == position) { /* all that is under way is committed: it is the state */
        page_members_destroy(&page->applied);
        page->applied = page->ahead;
        page->ahead = NULL;
    } else if (is_list(e, page->number)) { /* many members: all of them, or, out of memory, none */
        struct page_members *next = NULL;
        rc = page_members_after(page->applied, page->number, e, &next);
        if (rc == 0) {
            page_members_destroy(&page->applied);
            page->applied = next;
        }
    } else if (e->kind == EVENT_SPLIT) {
        drop_moved(page->applied, e);
    } else {
        rc = fold_one(page->applied, e);
    }
    if (rc == 0)
        page->position = position;
    return rc;
}

int page_create(const struct id16 *conversation, uint32_t number, struct page **out)
{
    struct page *page = memory_zalloc(sizeof *page);
    if (!page)
        return -PARLEY_ERR_NOMEM;
    page->applied = memory_zalloc(sizeof *page->applied);
    if (!page->applied) {
        memory_free(page);
        return -PARLEY_ERR_NOMEM;
    }
    page->conversation = *conversation;
    page->number = number;
    *out = page;
    return 0;
}

void page_destroy(struct page **page)
{
    struct page *p = *page;
    if (!p)
        return;
    page_members_destroy(&p->applied);
    page_members_destroy(&p->ahead);
    memory_free(p);
    *page = NULL;
}

size_t page_bytes(const struct page *page)
{
    return sizeof *page + sizeof *page->applied + page->applied->max * sizeof *page->applied->list;
}

size_t page_len_max(const struct page *page)
{
    size_t len = 32;
    for (uint32_t i = 0; i < page->applied->count; i++)
        len += 128 + (size_t)page->applied->list[i].interval_count * sizeof(struct member_interval);
    return len;
}

void page_encode(const struct page *page, struct bytes_writer *w)
{
    bytes_put_u8(w, PAGE_VERSION);
    bytes_put_u64(w, page->position);
    bytes_put_varint(w, page->applied->count);
    for (uint32_t i = 0; i < page->applied->count; i++)
        member_put(w, &page->applied->list[i]);
}

static int decode_members(struct page_members *m, struct bytes_reader *r, uint64_t count)
{
    if (r->failed || count > PAGE_MEMBERS_MAX)
        return -PARLEY_ERR_CORRUPT;
    if (members_reserve(m, (uint32_t)count))
        return -PARLEY_ERR_NOMEM;
    for (; m->count < count; m->count++) {
        struct member_view who = member_get(r);
        const struct member *last = m->count ? &m->list[m->count - 1] : NULL;
        if (r->failed || who.interval_count == 0 ||
            (last && memcmp(last->hash.bytes, who.hash.bytes, sizeof who.hash.bytes) >= 0))
            return -PARLEY_ERR_CORRUPT;
        if (member_of_view(&m->list[m->count], &who))
            return -PARLEY_ERR_NOMEM;
    }
    return bytes_reader_done(r) ? 0 : -PARLEY_ERR_CORRUPT;
}

int page_decode(const struct id16 *conversation, uint32_t number, struct span row, struct page **out)
{
    struct page *page = NULL;
    int rc = page_create(conversation, number, &page);
    if (rc)
        return rc;
    struct bytes_reader r = bytes_reader_of(row.data, row.len);
    if (bytes_get_u8(&r) != PAGE_VERSION)
        r.failed = true;
    page->position = bytes_get_u64(&r);
    uint64_t count = bytes_get_varint(&r);
    rc = decode_members(page->applied, &r, count);
    if (rc)
        page_destroy(&page);
    else
        *out = page;
    return rc;
}
