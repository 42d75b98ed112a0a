/* Requests: queued at their conversation or user, served in order, decided when all they need is in memory. */
#include "src/base/error.h"
#include "src/base/memory.h"
#include "src/shard/reads.h"
#include "src/shard/shard_internal.h"

enum { DECIDE_ROUNDS_MAX = 16, GIVEN_MAX = 8 };

/* What one decision has at hand. */
struct desk {
    struct machine_view view;
    struct page *pages[MACHINE_KEYS_MAX];
    struct object *nodes[MACHINE_KEYS_MAX];
    uint32_t node_count;
    struct dedup_given given[GIVEN_MAX];
};

static struct id16 hash128(void *owner, const void *data, size_t len)
{
    const struct shard *s = owner;
    return hash_128(&s->options.key, data, len);
}

struct hasher shard_hasher(struct shard *s)
{
    return (struct hasher){s, hash128};
}

static void desk_take(struct desk *desk, struct object *node)
{
    parley_assert(desk->node_count < MACHINE_KEYS_MAX);
    desk->nodes[desk->node_count++] = node;
    if (node->key.kind == OBJECT_CONVERSATION)
        desk->view.conversation = node->is.conversation;
    else if (node->key.kind == OBJECT_USER)
        desk->view.user = node->is.user;
    else
        desk->pages[desk->view.page_count++] = node->is.page;
}

static void desk_give(struct desk *desk, const struct object *anchor)
{
    uint32_t count = 0;
    for (const struct object_given *g = anchor->given; g && count < GIVEN_MAX; g = g->next)
        desk->given[count++] = g->row;
    desk->view.given = desk->given;
    desk->view.given_count = count;
}

/* Everything that the command needs; all loads are begun before it waits for any. */
static int desk_fill(struct shard *s, struct desk *desk, struct object *anchor, const struct command *command)
{
    struct machine_key keys[MACHINE_KEYS_MAX];
    uint32_t count = machine_needs(command, anchor->is.conversation, keys);
    int waits = 0;
    desk->node_count = 0;
    desk->view = (struct machine_view){.pages = desk->pages};
    for (uint32_t i = 0; i < count; i++) {
        struct object *node = anchor; /* it is in memory: only pages are looked for */
        int err = keys[i].kind == OBJECT_PAGE ? shard_need(s, &keys[i], READER_LOAD, &node) : 0;
        if (err && err != -PARLEY_ERR_AGAIN)
            return err;
        if (err)
            waits = err;
        else
            desk_take(desk, node);
    }
    desk_give(desk, anchor);
    return waits;
}

/* Answers -PARLEY_ERR_AGAIN when something is being loaded. */
static int decide(struct shard *s, struct desk *desk, struct object *anchor, const struct command *command,
                  struct verdict *verdict)
{
    struct machine_context context = {.ids = &s->ids,
                                      .now_ms = clock_wall_ms(s->options.clock),
                                      .limits = s->options.limits,
                                      .hasher = shard_hasher(s)};
    for (int round = 0; round < DECIDE_ROUNDS_MAX; round++) {
        int err = desk_fill(s, desk, anchor, command);
        if (err)
            return err;
        machine_decide(command, &desk->view, &context, verdict);
        if (verdict->kind == VERDICT_NEED_ROW)
            err = shard_need_dedup_row(s, anchor, verdict->need_first_id, READER_LOAD);
        else if (verdict->kind != VERDICT_NEED_OBJECT)
            return 0;
        verdict_clear(verdict);
        if (err)
            return err;
    }
    return -PARLEY_ERR_INTERNAL;
}

/* Its answer waits until the user's list shows it. */
static bool changes_lists(const struct command *command)
{
    return command->kind == COMMAND_CREATE || command->kind == COMMAND_ADD;
}

/* Appends the verdict's record; on error nothing has changed but ids that were drawn. */
static int commit(struct shard *s, struct desk *desk, struct verdict *verdict, struct shard_request *request)
{
    /* There was room when it came; it has waited since, and others were faster. */
    int err = shard_pressure(s);
    if (err)
        return err;
    struct bytes_writer w = bytes_writer_of(s->record, LOG_RECORD_BYTES_MAX);
    for (uint32_t i = 0; i < verdict->event_count; i++)
        event_encode(&w, &verdict->events[i]);
    if (w.failed)
        return -PARLEY_ERR_TOO_LARGE;
    struct span record = {s->record, bytes_writer_len(&w)};
    uint64_t position;
    err = shard_pending_reserve(s, record.len);
    if (!err)
        err = log_append(s->log, record.data, record.len, verdict->event_count, &position);
    if (err)
        return err;
    machine_decided(&desk->view, verdict, position);
    shard_pending_put(s, position, request->session, verdict->event_count, record);
    request->waits_for_position = changes_lists(&request->command) ? position : 0;
    for (uint32_t i = 0; i < desk->node_count; i++)
        desk->nodes[i]->busy_until = position + verdict->event_count;
    return 0;
}

/* Of what was decided, so a retry and a refused one cost nothing, and the rate is the last that is judged. */
static int commit_at_rate(struct shard *s, struct desk *desk, struct verdict *verdict,
                          struct shard_request *request)
{
    const struct command *c = &request->command;
    bool limited =
        (s->user_sends.buckets || s->conversation_sends.buckets) && c->kind == COMMAND_SEND && !c->service;
    if (!limited)
        return commit(s, desk, verdict, request);
    uint64_t now_ms = clock_monotonic_ms(s->options.clock);
    uint32_t user_ms = rate_table_wait(&s->user_sends, &c->actor_hash, now_ms);
    uint32_t conversation_ms = rate_table_wait(&s->conversation_sends, &c->conversation, now_ms);
    request->retry_after_ms = user_ms > conversation_ms ? user_ms : conversation_ms;
    if (request->retry_after_ms)
        return -PARLEY_ERR_RATE;
    int err = commit(s, desk, verdict, request);
    if (err)
        return err;
    rate_table_take(&s->user_sends, &c->actor_hash, now_ms);
    rate_table_take(&s->conversation_sends, &c->conversation, now_ms);
    return 0;
}

static void desk_clear(struct shard *s, struct desk *desk, const struct object *anchor)
{
    for (uint32_t i = 0; i < desk->node_count; i++)
        if (desk->nodes[i] != anchor)
            shard_drop_if_nothing(s, desk->nodes[i]);
}

static int serve_command(struct shard *s, struct object *anchor, struct shard_request *request,
                         uint64_t *waits_for_id)
{
    struct desk desk = {.node_count = 0};
    struct verdict verdict = {0};
    int err = decide(s, &desk, anchor, &request->command, &verdict);
    if (err == -PARLEY_ERR_AGAIN)
        return err;
    if (!err && verdict.kind == VERDICT_EVENTS) {
        err = commit_at_rate(s, &desk, &verdict, request);
        if (!err) {
            request->id = verdict.events[0].id;
            request->seq = verdict.events[0].seq;
            *waits_for_id = verdict.events[verdict.event_count - 1].id;
        }
    } else if (!err) {
        parley_assert(verdict.kind == VERDICT_REFUSED || verdict.kind == VERDICT_DUPLICATE);
        err = verdict.kind == VERDICT_REFUSED ? verdict.error : 0;
        request->duplicate = verdict.kind == VERDICT_DUPLICATE;
        if (request->duplicate && changes_lists(&request->command)) /* not less than the first answer */
            request->waits_for_position =
                verdict.basis ? anchor->is.conversation->ahead_position : anchor->is.conversation->position;
        request->id = verdict.id;
        request->seq = verdict.seq;
        *waits_for_id = verdict.basis;
    }
    request->error = err;
    desk_clear(s, &desk, anchor);
    verdict_clear(&verdict);
    return 0;
}

static struct shard_request *queue_pop(struct shard *s, struct object *anchor)
{
    struct shard_request *request = anchor->queue;
    anchor->queue = request->next;
    if (!anchor->queue)
        anchor->queue_tail = &anchor->queue;
    s->queued_count--;
    shard_forget_given(anchor);
    return request;
}

/* The head of the queue. -PARLEY_ERR_AGAIN: it waits for a load, and is still the head. */
static int serve_head(struct shard *s, struct object *anchor)
{
    struct shard_request *request = anchor->queue;
    uint64_t waits_for_id = 0;
    if (s->failed || s->closing) {
        shard_read_end(request);
        request->error = -PARLEY_ERR_CLOSING;
    } else {
        enum reader_class class = request->kind == SHARD_COMMAND ? READER_LOAD : READER_HISTORY;
        int err = shard_need_node(s, anchor, class);
        if (!err && request->kind == SHARD_COMMAND)
            err = serve_command(s, anchor, request, &waits_for_id);
        else if (!err)
            err = shard_serve_read(s, anchor, request);
        if (err == -PARLEY_ERR_AGAIN)
            return err;
        if (err) {
            shard_read_end(request);
            request->error = err;
        }
    }
    queue_pop(s, anchor);
    if (request->reading) /* its pages come from the store: it will be back */
        return 0;
    shard_answer(s, request, waits_for_id);
    return 0;
}

void shard_pump(struct shard *s, struct object *anchor)
{
    if (anchor->pumping) /* an answer asked for more: it is behind in the queue that is being served */
        return;
    anchor->pumping = true;
    while (anchor->queue && serve_head(s, anchor) == 0)
        ;
    anchor->pumping = false;
    if (!anchor->queue) /* a row that came when nobody waited for it any more */
        shard_forget_given(anchor);
    shard_drop_if_nothing(s, anchor);
}

void shard_enqueue(struct shard *s, struct object *anchor, struct shard_request *request)
{
    bool first = !anchor->queue;
    request->next = NULL;
    *anchor->queue_tail = request;
    anchor->queue_tail = &request->next;
    s->queued_count++;
    if (first)
        shard_pump(s, anchor);
}

static int check_room(const struct shard *s, const struct shard_request *request)
{
    if (s->failed || s->closing)
        return -PARLEY_ERR_CLOSING;
    if (s->waiting_count + s->queued_count >= s->options.request_count_max)
        return -PARLEY_ERR_FULL;
    return request->kind == SHARD_COMMAND ? shard_pressure(s) : 0;
}

void shard_submit(struct shard *s, struct shard_request *request)
{
    bool of_user = request->kind == SHARD_PROFILE ||
                   (request->kind == SHARD_COMMAND && request->command.kind == COMMAND_PROFILE);
    struct machine_key key = {.kind = of_user ? OBJECT_USER : OBJECT_CONVERSATION,
                              .id = *shard_request_key(request)};
    struct object *anchor;
    if (request->kind == SHARD_DERIVE) {
        derive_serve(s, request);
        return;
    }
    if (request->kind == SHARD_PRESENCE) {
        request->error = s->options.on_presence ? s->options.on_presence(s->options.owner, request)
                                                : -PARLEY_ERR_NOT_FOUND;
        request->done(request);
        return;
    }
    request->duplicate = false;
    request->id = request->seq = request->waits_for_position = 0;
    request->next_page = request->retry_after_ms = 0;
    request->page = (struct shard_page){0};
    request->reading = NULL;
    request->error = check_room(s, request);
    if (!request->error && (request->kind == SHARD_LIST || request->kind == SHARD_LARGE)) {
        if (!derive_hold_list(s, request))
            shard_serve_list(s, request);
        return;
    }
    if (!request->error)
        request->error = objects_node(&s->objects, &key, &anchor);
    if (request->error)
        request->done(request);
    else
        shard_enqueue(s, anchor, request);
}
