/* Who is in a conversation, as its pages say and as the users' shards have derived it. */
#include <stdio.h>
#include <string.h>

#include "src/base/error.h"
#include "src/base/memory.h"
#include "src/shard/large_set.h"
#include "src/verify/verify_internal.h"

enum { ID_BYTES = sizeof(struct id16) };

/* The event that made him a member of whom a shard knows that has derived what is below `bound`; 0: he is none. */
static uint64_t joined_before(const struct member *m, uint64_t bound)
{
    const struct member_interval *spans = member_intervals(m);
    for (uint32_t i = m->interval_count; i > 0; i--)
        if (spans[i - 1].joined < bound)
            return spans[i - 1].left == 0 || spans[i - 1].left >= bound ? spans[i - 1].joined : 0;
    return 0;
}

static struct verify_where at_list(const struct verify_shard *s, const struct id16 *user)
{
    return verify_at(s, "memberships, user", 0, user, 0);
}

/* `want` 0: the row should not be there. */
static void membership_differs(struct verify_shard *s, enum verify_kind kind, const struct id16 *user,
                               const struct id16 *conversation, uint64_t want)
{
    char hex[2 * ID_BYTES + 1];
    if (!s->verify->mending) {
        for (size_t i = 0; i < ID_BYTES; i++)
            snprintf(hex + 2 * i, 3, "%02x", conversation->bytes[i]);
        verify_find(s, kind, at_list(s, user).text, "%s: conversation %s",
                    kind == VERIFY_KIND_MEMBERSHIP_MISSING ? "the user is a member, but it is not in his list"
                    : kind == VERIFY_KIND_MEMBERSHIP_WRONG
                        ? "the row of the user's list is of another event, or cannot be read"
                        : "it is in the user's list, but he is no member",
                    hex);
        return;
    }
    if (!verify_batch(s))
        return;
    if (want)
        rows_put_membership(s->batch, user, conversation, want);
    else
        rows_delete_membership(s->batch, user, conversation);
    s->mended.lists++;
    verify_batch_turn(s);
}

static void check_membership(struct verify_shard *source, const struct id16 *conversation,
                             const struct member *m)
{
    struct verify_shard *s = verify_owner(source->verify, &m->hash);
    uint64_t bound = source->bounds[s->number], id = 0;
    if (!s->store || bound == 0)
        return;
    uint64_t want = joined_before(m, bound);
    if (!want)
        return;
    s->expected_memberships++;
    int err = rows_load_membership(s->store, &m->hash, conversation, STORE_ALL, &id);
    if (verify_failed(s->verify, err) || (!err && id == want))
        return;
    s->expected_memberships -= !err && !id; /* so that the count of rows stays comparable */
    membership_differs(s, !err && !id ? VERIFY_KIND_MEMBERSHIP_MISSING : VERIFY_KIND_MEMBERSHIP_WRONG,
                       &m->hash, conversation, want);
}

/* ---- pages */

struct sums {
    uint32_t members, entries, owners;
};

/* Not above what there is, nor below what the log says. */
static void check_receipts(struct verify_shard *s, const struct conversation *c, uint32_t page,
                           const struct member *m)
{
    const struct verify_receipt *in_log = verify_receipts_find(&s->receipts, &c->id, &m->hash);
    struct span user = member_user(m);
    struct verify_where where = verify_at(s, "members", 0, &c->id, page);
    if (m->delivered_seq > c->applied.last_seq)
        verify_find(s, VERIFY_KIND_RECEIPT, where.text,
                    "member %.*s has got message %llu, but there are only %llu", (int)user.len,
                    (const char *)user.data, (unsigned long long)m->delivered_seq,
                    (unsigned long long)c->applied.last_seq);
    if (in_log && !s->log_is_foreign && (m->read_seq < in_log->read || m->delivered_seq < in_log->delivered))
        verify_find(s, VERIFY_KIND_RECEIPT, where.text,
                    "member %.*s has read %llu and got %llu, but the log says %llu and %llu", (int)user.len,
                    (const char *)user.data, (unsigned long long)m->read_seq,
                    (unsigned long long)m->delivered_seq, (unsigned long long)in_log->read,
                    (unsigned long long)in_log->delivered);
}

static void check_member(struct verify_shard *s, const struct conversation *c, uint32_t page,
                         const struct member *m, struct sums *sums)
{
    struct span user = member_user(m);
    struct id16 hash = hash_128(&s->verify->folder.key, user.data, user.len);
    const struct member_interval *last = &member_intervals(m)[m->interval_count - 1];
    const char *wrong = NULL;
    if (memcmp(&hash, &m->hash, sizeof hash) != 0)
        wrong = "his hash is not his";
    else if (page_number(&m->hash, c->applied.page_count) != page)
        wrong = "he belongs to another page";
    else if ((last->left ? last->left : last->joined) > c->applied.last_event_id)
        wrong = "he came or went by an event above the conversation's last";
    if (wrong)
        verify_find(s, VERIFY_KIND_MEMBER, verify_at(s, "members", 0, &c->id, page).text, "member %.*s: %s",
                    (int)user.len, (const char *)user.data, wrong);
    check_receipts(s, c, page, m);
    sums->entries++;
    sums->members += member_active(m);
    sums->owners += member_active(m) && m->role == ROLE_OWNER;
    for (uint32_t i = 0; i < m->interval_count; i++) {
        verify_note(s, 0, member_intervals(m)[i].joined);
        verify_note(s, 0, member_intervals(m)[i].left);
    }
    check_membership(s, &c->id, m);
}

/* The page as of the log's end: in memory, or *loaded, the caller's. NULL: it is not there, or (*err) damaged. */
static const struct page *page_now(struct verify_shard *s, const struct id16 *id, uint32_t number,
                                   struct page **loaded, int *err)
{
    struct machine_key key = {.kind = OBJECT_PAGE, .id = *id, .page = number};
    const struct object *node = objects_find(&s->now, &key);
    void *any = NULL;
    *loaded = NULL;
    *err = 0;
    if (node && !node->load_error && node->is.any && object_position(node))
        return node->is.page;
    *err = rows_load(s->store, &key, STORE_ALL, &s->now.dedup, &any);
    *loaded = any;
    return verify_failed(s->verify, *err) ? NULL : *loaded;
}

static int on_page_beyond(void *owner, struct span key, struct span row)
{
    (void)key, (void)row;
    *(bool *)owner = true;
    return 1;
}

static void check_beyond(struct verify_shard *s, const struct conversation *c)
{
    uint8_t key[ROWS_PAGE_KEY_BYTES];
    bool found = false;
    uint32_t number = htobe32(c->applied.page_count);
    memcpy(key, c->id.bytes, ID_BYTES);
    memcpy(key + ID_BYTES, &number, sizeof number);
    int err = store_scan(s->store, (struct store_key){STORE_MEMBERS, 0, {key, sizeof key}}, ID_BYTES,
                         on_page_beyond, &found);
    if (!verify_failed(s->verify, err) && found)
        verify_find(s, VERIFY_KIND_MEMBER, verify_at(s, "members", 0, &c->id, c->applied.page_count).text,
                    "there are more pages than the conversation's %u", c->applied.page_count);
}

/* ---- which conversations are large: every shard knows of all */

static int on_large(void *owner, const struct id16 *id)
{
    return large_set_add(owner, id);
}

void verify_large_load(struct verify_shard *s)
{
    int err = rows_scan_large(s->store, on_large, &s->large);
    s->large_unreadable = err && !verify_failed(s->verify, err);
    if (s->large_unreadable)
        verify_find(s, VERIFY_KIND_LARGE, verify_at(s, "meta, large", 0, NULL, 0).text,
                    "a row cannot be read");
}

static void large_differs(struct verify_shard *s, const struct id16 *id, bool want)
{
    if (!s->verify->mending) {
        verify_find(s, VERIFY_KIND_LARGE, verify_at(s, "meta, large", 0, id, 0).text,
                    want ? "the conversation is large, but this shard does not know"
                         : "the conversation is not large, but this shard says so");
        return;
    }
    if (!verify_batch(s))
        return;
    if (want)
        rows_put_large(s->batch, id);
    else
        rows_delete_large(s->batch, id);
    s->mended.large++;
}

/* The conversation is large: has the shard derived that? */
static void check_large(struct verify_shard *s, const struct verify_shard *source, const struct id16 *id)
{
    uint64_t bound = source->bounds[s->number];
    bool due = s->store && bound > 0;
    for (uint32_t i = 0; i < source->turned_count; i++)
        if (memcmp(&source->turned[i].conversation, id, sizeof *id) == 0 && source->turned[i].id >= bound)
            due = false;
    if (due && !large_set_has(&s->large, id))
        large_differs(s, id, true);
}

void verify_pages(struct verify_shard *s, const struct conversation *c)
{
    struct sums sums = {0};
    bool whole = true;
    for (uint32_t i = 0; i < c->applied.page_count && !s->verify->error; i++) {
        struct page *loaded;
        int err;
        const struct page *page = page_now(s, &c->id, i, &loaded, &err);
        struct verify_where where = verify_at(s, "members", 0, &c->id, i);
        whole = whole && page;
        if (err)
            verify_find(s, VERIFY_KIND_ROW, where.text, "the page of members cannot be read");
        else if (!page)
            verify_find(s, VERIFY_KIND_PAGE_MISSING, where.text, "page %u of members is missing", i);
        if (page)
            verify_note(s, loaded ? page->position : 0, 0);
        for (uint32_t k = 0; page && k < page->applied->count; k++)
            check_member(s, c, i, &page->applied->list[k], &sums);
        page_destroy(&loaded);
    }
    check_beyond(s, c);
    s->counts.members += sums.members;
    if (whole && (sums.members != c->applied.members || sums.entries != c->applied.entries ||
                  sums.owners != c->applied.owners))
        verify_find(s, VERIFY_KIND_MEMBER_COUNT, verify_at(s, "conversations", 0, &c->id, 0).text,
                    "it counts %u members, %u owners and %u who ever were in; its pages have %u, %u and %u",
                    c->applied.members, c->applied.owners, c->applied.entries, sums.members, sums.owners,
                    sums.entries);
    for (uint32_t d = 0; c->applied.page_count >= MACHINE_LARGE_PAGES && d < s->verify->folder.shard_count;
         d++)
        check_large(&s->verify->shards[d], s, &c->id);
}

/* ---- rows of lists, back to the pages */

/* The conversation as of the log's end; the caller destroys *loaded. NULL: there is none, or (*damaged) one cannot say. */
static const struct conversation *conversation_now(struct verify_shard *s, const struct id16 *id,
                                                   struct conversation **loaded, bool *damaged)
{
    struct machine_key key = {.kind = OBJECT_CONVERSATION, .id = *id};
    const struct object *node = objects_find(&s->now, &key);
    uint8_t *row = NULL;
    size_t len;
    *loaded = NULL;
    *damaged = node && node->load_error;
    if (node)
        return !*damaged && node->is.conversation->applied.exists ? node->is.conversation : NULL;
    int err = store_get(s->store, (struct store_key){STORE_CONVERSATIONS, 0, {id->bytes, ID_BYTES}},
                        STORE_ALL, &row, &len);
    if (!err)
        err = conversation_decode(id, &s->now.dedup, (struct span){row, len}, loaded);
    memory_free(row);
    *damaged = err && err != -PARLEY_ERR_NOT_FOUND;
    (void)verify_failed(s->verify, err);
    return *loaded;
}

enum belief { BELONGS, EXTRA, UNDECIDED };

/* Does it say that there is no such conversation? Only a shard of which nothing was lost or unreadable can. */
static enum belief of_missing(const struct verify_shard *source, bool damaged)
{
    return damaged || source->verify->was_damaged[source->number] ? UNDECIDED : EXTRA;
}

/* Does a row belong in his list? Only what the conversation itself says counts. */
static enum belief judge_row(struct verify_shard *s, const struct id16 *user, const struct id16 *conversation)
{
    struct verify_shard *source = verify_owner(s->verify, conversation);
    struct conversation *loaded;
    bool damaged;
    if (!source->store || source->bounds[s->number] == 0)
        return BELONGS; /* what is wrong with the source is told of it */
    const struct conversation *c = conversation_now(source, conversation, &loaded, &damaged);
    if (!c)
        return of_missing(source, damaged);
    struct page *loaded_page;
    int err;
    const struct page *page =
        page_now(source, conversation, page_number(user, c->applied.page_count), &loaded_page, &err);
    const struct member *m = page ? page_find(page->applied, user) : NULL;
    enum belief belief = m && joined_before(m, source->bounds[s->number]) ? BELONGS : EXTRA;
    page_destroy(&loaded_page);
    conversation_destroy(&loaded);
    return page ? belief : UNDECIDED;
}

static void tell_undecided(struct verify_shard *s, struct verify_where where, const struct id16 *conversation)
{
    char hex[2 * ID_BYTES + 1];
    for (size_t i = 0; i < ID_BYTES; i++)
        snprintf(hex + 2 * i, 3, "%02x", conversation->bytes[i]);
    verify_find(
        s, VERIFY_KIND_UNDECIDED, where.text,
        "conversation %s of shard %u is missing or cannot be read: whether this row belongs here cannot be "
        "said",
        hex, verify_owner(s->verify, conversation)->number);
}

static int on_row(void *owner, struct span key, struct span row)
{
    struct verify_shard *s = owner;
    struct id16 user, conversation;
    verify_report_looked(s->verify->report);
    s->counts.memberships++;
    if (key.len != ROWS_MEMBERSHIP_KEY_BYTES) {
        verify_find(s, VERIFY_KIND_ROW_PLACE, verify_at(s, "memberships", 0, NULL, 0).text,
                    "a key has %zu bytes and should have %d", key.len, ROWS_MEMBERSHIP_KEY_BYTES);
        return 0;
    }
    memcpy(user.bytes, key.data, ID_BYTES);
    memcpy(conversation.bytes, key.data + ID_BYTES, ID_BYTES);
    struct bytes_reader r = bytes_reader_of(row.data, row.len); /* who expects it has checked it */
    (void)bytes_get_u8(&r);
    uint64_t id = bytes_get_u64(&r);
    if (bytes_reader_done(&r))
        verify_note(verify_owner(s->verify, &conversation), 0, id);
    if (verify_owner(s->verify, &user) != s)
        verify_find(s, VERIFY_KIND_ROW_PLACE, verify_at(s, "memberships, user", 0, &user, 0).text,
                    "the user belongs to another shard");
    return s->verify->error;
}

static int on_row_again(void *owner, struct span key, struct span row)
{
    struct verify_shard *s = owner;
    struct id16 user, conversation;
    (void)row;
    if (key.len != ROWS_MEMBERSHIP_KEY_BYTES)
        return 0;
    memcpy(user.bytes, key.data, ID_BYTES);
    memcpy(conversation.bytes, key.data + ID_BYTES, ID_BYTES);
    enum belief belief = judge_row(s, &user, &conversation);
    if (belief == EXTRA)
        membership_differs(s, VERIFY_KIND_MEMBERSHIP_EXTRA, &user, &conversation, 0);
    else if (belief == UNDECIDED)
        tell_undecided(s, at_list(s, &user), &conversation);
    return s->verify->error;
}

/* When each member has his row and there are no more rows than that, none is too many: only else each is looked up. */
void verify_memberships(struct verify_shard *s)
{
    struct store_key from = {STORE_MEMBERSHIPS, 0, {0}};
    int err = store_scan(s->store, from, 0, on_row, s);
    if (!err && s->counts.memberships != s->expected_memberships)
        err = store_scan(s->store, from, 0, on_row_again, s);
    (void)verify_failed(s->verify, err);
}

void verify_large(struct verify_shard *s)
{
    for (uint32_t i = 0; i < s->large.count && !s->verify->error; i++) {
        const struct id16 *id = &s->large.ids[i];
        struct verify_shard *source = verify_owner(s->verify, id);
        struct conversation *loaded;
        bool damaged;
        if (!source->store)
            continue;
        const struct conversation *c = conversation_now(source, id, &loaded, &damaged);
        enum belief belief =
            c ? (c->applied.page_count < MACHINE_LARGE_PAGES ? EXTRA : BELONGS) : of_missing(source, damaged);
        if (belief == EXTRA)
            large_differs(s, id, false);
        else if (belief == UNDECIDED)
            tell_undecided(s, verify_at(s, "meta, large", 0, id, 0), id);
        conversation_destroy(&loaded);
    }
}
