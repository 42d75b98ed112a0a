/* Reads: of loaded objects at once; messages and lists also out of the store, by the reader pool when they are not cached. */
#include <string.h>

#include "src/base/error.h"
#include "src/base/memory.h"
#include "src/shard/history.h"
#include "src/shard/reads.h"
#include "src/shard/rows.h"
#include "src/shard/shard_internal.h"

enum {
    TYPING_QUIET_MS = 3000,
    RECALL_ROWS_MAX = 8
}; /* of different rows that one fingerprint's tag may lead to */

/* A read of messages under way; it outlives the request's place in the queue. */
struct reading {
    struct reader_job job;
    struct shard *shard;
    struct shard_request *request;
    struct history history;
    bool second;       /* of AROUND: the half towards newer ones */
    bool memory_taken; /* backwards memory comes first */
    uint64_t covered;  /* forwards: what the store has below is taken */
    int err;
};

void shard_read_end(struct shard_request *request)
{
    struct reading *r = request->reading;
    if (!r)
        return;
    history_end(&r->history);
    memory_free(r);
    request->reading = NULL;
}

static void begin_half(struct reading *r)
{
    const struct history_query *q = &r->request->history;
    const struct id16 *id = &r->request->command.conversation;
    uint32_t limit = q->limit;
    r->memory_taken = false;
    r->covered = 0;
    if (q->way == HISTORY_AROUND && r->second)
        history_begin(&r->history, id, true, q->from ? q->from - 1 : 0, limit - limit / 2);
    else if (q->way == HISTORY_AROUND)
        history_begin(&r->history, id, false, q->from ? q->from : 1, limit / 2 ? limit / 2 : 1);
    else
        history_begin(&r->history, id, q->way == HISTORY_AFTER, q->from, limit);
}

static int reading_begin(struct shard *s, struct shard_request *request)
{
    struct reading *r = memory_zalloc(sizeof *r);
    if (!r)
        return -PARLEY_ERR_NOMEM;
    r->shard = s;
    r->request = request;
    request->reading = r;
    return 0;
}

static void run_store(void *owner)
{
    struct reading *r = owner;
    r->err = history_store(&r->history, r->shard->store);
}

/* Back into the queue of its conversation, which may have left memory meanwhile. */
static void store_done(void *owner)
{
    struct reading *r = owner;
    struct shard *s = r->shard;
    struct shard_request *request = r->request;
    struct machine_key key = {.kind = OBJECT_CONVERSATION, .id = request->command.conversation};
    struct object *anchor;
    s->job_count--;
    s->reading_count--;
    r->covered = r->history.store_below;
    int err = r->err ? r->err : objects_node(&s->objects, &key, &anchor);
    if (!err) {
        shard_enqueue(s, anchor, request);
        return;
    }
    shard_read_end(request);
    request->error = err;
    request->done(request);
}

/* A pool thread goes on: -PARLEY_ERR_AGAIN, or why not. */
static int take_store(struct shard *s, struct reading *r, uint64_t below)
{
    r->history.store_below = below;
    int err = history_own(&r->history);
    if (err)
        return err;
    r->job = (struct reader_job){.run = run_store, .done = store_done, .owner = r};
    err = reader_pool_submit(s->options.pool, s->options.reactor, READER_HISTORY, &r->job);
    if (err)
        return err;
    s->job_count++;
    s->reading_count++;
    return -PARLEY_ERR_AGAIN;
}

/* One direction, to its end. What is in memory moves while the store is read, so forwards this is asked anew. */
static int read_half(struct shard *s, struct reading *r, const struct conversation *c)
{
    struct history *h = &r->history;
    uint64_t kept = conversation_kept_from(c);
    int err = 0;
    if (h->forward) {
        if (!h->full && r->covered < kept && h->after < kept)
            err = take_store(s, r, kept);
        return err || h->full ? err : history_memory(h, c);
    }
    if (!r->memory_taken) {
        err = history_memory(h, c);
        r->memory_taken = true;
        if (!err && !h->full && kept)
            err = take_store(s, r, kept);
    }
    return err;
}

static int read_messages(struct shard *s, struct shard_request *request, const struct conversation *c)
{
    int err = 0;
    if (!request->reading) {
        err = reading_begin(s, request);
        if (!err)
            begin_half(request->reading);
    }
    while (!err) {
        struct reading *r = request->reading;
        err = read_half(s, r, c);
        if (err == -PARLEY_ERR_AGAIN)
            return 0; /* on its way: the queue goes on without it */
        if (!err && request->history.way == HISTORY_AROUND && !r->second && request->history.limit == 1)
            request->page.older = r->history.count > 0; /* there is no room for it */
        else if (!err)
            err = history_give(&r->history, &request->page);
        if (err || request->history.way != HISTORY_AROUND || r->second)
            break;
        history_end(&r->history);
        r->second = true;
        begin_half(r);
    }
    shard_read_end(request);
    return err;
}

/* The only message of the page is the one that was asked for, or there is none. */
static int check_message(struct shard_request *request, uint64_t id)
{
    struct chunk_cursor at = chunk_begin((struct span){request->page.entries, request->page.len});
    struct message m;
    request->page.older = request->page.newer = false;
    return request->page.count == 1 && chunk_next(&at, &m) == 0 && m.id == id ? 0 : -PARLEY_ERR_NOT_FOUND;
}

static int recall(struct shard *s, struct object *anchor, const struct shard_request *request, uint64_t *id)
{
    struct machine_context context = {.hasher = shard_hasher(s)};
    struct machine_view view = {.conversation = anchor->is.conversation};
    struct dedup_given given[RECALL_ROWS_MAX];
    struct verdict verdict;
    for (uint32_t rounds = 0; rounds <= RECALL_ROWS_MAX; rounds++) {
        view.given = given;
        view.given_count = 0;
        for (const struct object_given *g = anchor->given; g && view.given_count < RECALL_ROWS_MAX;
             g = g->next)
            given[view.given_count++] = g->row;
        machine_recall(&request->command, &view, &context, &verdict);
        *id = verdict.id;
        if (verdict.kind != VERDICT_NEED_ROW)
            return verdict.kind == VERDICT_DUPLICATE ? 0 : verdict.error;
        int err = shard_need_dedup_row(s, anchor, verdict.need_first_id, READER_HISTORY);
        if (err)
            return err;
    }
    return -PARLEY_ERR_INTERNAL;
}

static int read_one(struct shard *s, struct object *anchor, struct shard_request *request)
{
    int err = 0;
    if (!request->reading) {
        uint64_t id = request->history.from;
        if (request->command.client_id.len)
            err = recall(s, anchor, request, &id);
        if (err || id == 0)
            return err ? err : -PARLEY_ERR_NOT_FOUND;
        request->id = id;
        request->history = (struct history_query){HISTORY_AFTER, id - 1, 1};
    }
    err = read_messages(s, request, anchor->is.conversation);
    return err || request->reading ? err : check_message(request, request->id);
}

static int need_page(struct shard *s, const struct id16 *id, uint32_t number, const struct page **out)
{
    struct machine_key key = {.kind = OBJECT_PAGE, .id = *id, .page = number};
    struct object *node;
    int err = shard_need(s, &key, READER_HISTORY, &node);
    *out = err ? NULL : node->is.page;
    return err;
}

static int serve_profile(const struct object *anchor, struct shard_request *request)
{
    struct span name = user_name(anchor->is.user);
    if (anchor->is.user->position == 0)
        return -PARLEY_ERR_NOT_FOUND;
    request->page.entries = memory_alloc(name.len);
    if (!request->page.entries)
        return -PARLEY_ERR_NOMEM;
    if (name.len)
        memcpy(request->page.entries, name.data, name.len);
    request->page.len = name.len;
    request->page.count = 1;
    return 0;
}

/* A client says it with each key; the others hear it once in a while. */
static bool typing_is_news(struct object *anchor, uint64_t tag, uint64_t now_ms)
{
    struct object_typing *oldest = &anchor->typing[0];
    for (uint32_t i = 0; i < OBJECT_TYPING_MAX; i++) {
        struct object_typing *t = &anchor->typing[i];
        if (t->tag == tag && now_ms - t->ms < TYPING_QUIET_MS)
            return false;
        if (t->tag == tag || (oldest->tag != tag && t->ms < oldest->ms))
            oldest = t;
    }
    *oldest = (struct object_typing){tag, now_ms};
    return true;
}

/* In larger conversations nobody is told. */
static int serve_typing(struct shard *s, struct object *anchor, const struct shard_request *request,
                        const struct page *page)
{
    const struct command *c = &request->command;
    const struct member *member = page ? page_find(page->applied, &c->actor_hash) : NULL;
    if (!member || !member_active(member))
        return -PARLEY_ERR_NOT_MEMBER; /* a service, for somebody who is not in */
    if (member->role == ROLE_READ_ONLY)
        return -PARLEY_ERR_FORBIDDEN;
    bool small = anchor->is.conversation->applied.page_count == 1;
    if (!small || !s->options.on_typing ||
        !typing_is_news(anchor, event_sender_tag(&c->actor_hash), clock_monotonic_ms(s->options.clock)))
        return 0;
    struct shard_typing typing = {.conversation = c->conversation,
                                  .user_hash = c->actor_hash,
                                  .user = c->actor,
                                  .page = page,
                                  .session = request->session};
    s->options.on_typing(s->options.owner, &typing);
    return 0;
}

static int serve_acquainted(struct shard *s, const struct shard_request *request,
                            const struct conversation *c)
{
    const struct command *command = &request->command;
    const struct page *page;
    int err = need_page(s, &command->conversation, page_number(&command->target_hash, c->applied.page_count),
                        &page);
    return err || reads_member(&command->target_hash, page) ? err : -PARLEY_ERR_NOT_FOUND;
}

int shard_serve_read(struct shard *s, struct object *anchor, struct shard_request *request)
{
    if (request->kind == SHARD_PROFILE)
        return serve_profile(anchor, request);
    const struct conversation *c = anchor->is.conversation;
    const struct id16 *id = &request->command.conversation;
    const struct page *page = NULL, *wanted = NULL;
    int err = 0;
    if (!c->applied.exists)
        return -PARLEY_ERR_NOT_FOUND;
    err = need_page(s, id, page_number(&request->command.actor_hash, c->applied.page_count), &page);
    if (!err)
        err = reads_allowed(&request->command, c, page);
    if (err)
        return err;
    switch (request->kind) {
    case SHARD_HISTORY:
        return read_messages(s, request, c);
    case SHARD_MESSAGE:
        return read_one(s, anchor, request);
    case SHARD_CONVERSATION:
        reads_summary(request, c, page);
        return 0;
    case SHARD_TYPING:
        return serve_typing(s, anchor, request, page);
    case SHARD_ACQUAINTED:
        return serve_acquainted(s, request, c);
    case SHARD_MEMBERS:
        if (request->from_page >= c->applied.page_count)
            return -PARLEY_ERR_NOT_FOUND;
        err = need_page(s, id, request->from_page, &wanted);
        return err ? err : reads_members(request, c, wanted);
    default:
        return -PARLEY_ERR_INTERNAL;
    }
}

/* -- lists */

enum { LARGE_SCAN_MAX = 1000 }; /* rows of one answer: most are of small ones */

/* A list under way. */
struct listing {
    struct reader_job job;
    struct shard *shard;
    struct shard_request *request;
    int err;
};

static uint32_t rows_max(const struct shard_request *request)
{
    return request->kind == SHARD_LARGE ? (uint32_t)LARGE_SCAN_MAX : request->limit;
}

static int on_membership(void *owner, const struct id16 *conversation, uint64_t id)
{
    struct shard_request *request = owner;
    struct shard_page *page = &request->page;
    if (same_id(conversation, &request->list_after))
        return 0;
    if (page->count == rows_max(request)) {
        page->newer = true;
        return 1;
    }
    struct bytes_writer w = bytes_writer_of(page->entries + page->len, LIST_ENTRY_BYTES);
    bytes_put_id16(&w, conversation);
    bytes_put_u64(&w, id);
    page->len += LIST_ENTRY_BYTES;
    page->count++;
    return 0;
}

static int list(struct store *store, struct shard_request *request)
{
    request->page.len = request->page.count = 0;
    request->page.newer = false;
    return rows_scan_memberships(store, &request->command.actor_hash, &request->list_after, on_membership,
                                 request);
}

/* Here, not where the rows are read: the set is the reactor's. */
static void keep_large(const struct shard *s, struct shard_request *request)
{
    struct shard_page *page = &request->page;
    uint32_t count = page->count;
    page->len = page->count = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint8_t *entry = page->entries + (size_t)i * LIST_ENTRY_BYTES;
        memcpy(&request->list_next, entry, sizeof request->list_next);
        if (!derive_is_large(s, &request->list_next))
            continue;
        memmove(page->entries + page->len, entry, LIST_ENTRY_BYTES);
        page->len += LIST_ENTRY_BYTES;
        page->count++;
    }
}

static void run_listing(void *owner)
{
    struct listing *l = owner;
    l->err = list(l->shard->store, l->request);
}

static void list_end(const struct shard *s, struct shard_request *request, int err)
{
    if (!err && request->kind == SHARD_LARGE)
        keep_large(s, request);
    if (err) {
        memory_free(request->page.entries);
        request->page = (struct shard_page){0};
    }
    request->error = err;
    request->done(request);
}

static void listing_done(void *owner)
{
    struct listing *l = owner;
    struct shard *s = l->shard;
    struct shard_request *request = l->request;
    int err = l->err;
    s->job_count--;
    s->reading_count--;
    memory_free(l);
    list_end(s, request, err);
}

static int submit_listing(struct shard *s, struct shard_request *request)
{
    struct listing *l = memory_zalloc(sizeof *l);
    if (!l)
        return -PARLEY_ERR_NOMEM;
    *l = (struct listing){
        .job = {.run = run_listing, .done = listing_done, .owner = l}, .shard = s, .request = request};
    int err = reader_pool_submit(s->options.pool, s->options.reactor, READER_HISTORY, &l->job);
    if (err) {
        memory_free(l);
        return err;
    }
    s->job_count++;
    s->reading_count++;
    return 0;
}

void shard_serve_list(struct shard *s, struct shard_request *request)
{
    parley_assert(request->kind == SHARD_LARGE || (request->limit > 0 && request->limit <= LIST_LIMIT_MAX));
    if (request->kind == SHARD_LARGE && !derive_has_large(s)) { /* nearly always: connecting reads nothing */
        list_end(s, request, 0);
        return;
    }
    request->page.entries = memory_alloc((size_t)rows_max(request) * LIST_ENTRY_BYTES);
    int err = request->page.entries ? submit_listing(s, request) : -PARLEY_ERR_NOMEM;
    if (err)
        list_end(s, request, err);
}
