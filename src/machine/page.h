/* src/machine/page.h: a page of a conversation's members, an object of its own.
 *
 * Why:    a channel with a million members must not be loaded or rewritten to add one.
 * Shape:  members sorted by user hash. A user's page follows from his hash by linear hashing over the
 * conversation's page_count: pages are split one by one, in order, by an EVENT_SPLIT that carries who moved;
 * about 128 members a page, never more than PAGE_MEMBERS_MAX. A page has its applied members, and, while
 * events on it are decided but not committed, the members with those (ahead), which the next decision sees.
 *         Row: u8 version, position u64, count, members (member.h).
 * Thread: its shard's reactor.
 * Owner:  page_create and page_decode give the caller a page to destroy.
 * Errors: -PARLEY_ERR_NOMEM, -PARLEY_ERR_CORRUPT; on error nothing has changed.
 */
#ifndef PARLEY_MACHINE_PAGE_H
#define PARLEY_MACHINE_PAGE_H

#include "src/machine/member.h"

struct page_members {
    struct member *list; /* sorted by hash */
    uint32_t count, max;
};

struct page {
    struct id16 conversation;
    uint32_t number;
    uint64_t position;       /* the last event that `applied` contains; log positions begin at 1 */
    uint64_t ahead_position; /* the last event that `ahead` contains */
    struct page_members *applied;
    struct page_members *ahead; /* NULL when nothing is under way */
};

uint32_t page_number(const struct id16 *user_hash, uint32_t page_count);
/* The page that is split when page `page_count` comes into being. */
uint32_t page_to_split(uint32_t page_count);
/* How many pages a new conversation begins with. */
uint32_t page_count_for(uint32_t member_count);

PARLEY_MUST_USE int page_create(const struct id16 *conversation, uint32_t number, struct page **out);
PARLEY_MUST_USE int page_decode(const struct id16 *conversation, uint32_t number, struct span row,
                                struct page **out);
void page_destroy(struct page **page);
size_t page_len_max(const struct page *page);
/* Memory that it takes, about. */
size_t page_bytes(const struct page *page);
/* The applied state: what a row holds. */
void page_encode(const struct page *page, struct bytes_writer *w);

/* What the next decision must see. */
const struct page_members *page_view(const struct page *page);
const struct member *page_find(const struct page_members *members, const struct id16 *hash);
uint32_t page_active_count(const struct page_members *members);

/* The members after an event, as a copy. Owns: the caller destroys it or hands it to page_decided. */
PARLEY_MUST_USE int page_members_after(const struct page_members *members, uint32_t number,
                                       const struct event *event, struct page_members **out);
void page_members_destroy(struct page_members **members);
/* Owns: takes `next`, the members with the event at `position`. */
void page_decided(struct page *page, struct page_members **next, uint64_t position);
PARLEY_MUST_USE int page_apply(struct page *page, const struct event *event, uint64_t position);

#endif
