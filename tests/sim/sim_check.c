#include "tests/sim/sim_check.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/error.h"
#include "src/shard/history.h"
#include "src/shard/rows.h"
#include "src/shard/shard_internal.h"
#include "tests/sim/sim_trace.h"

enum { MARKED_AFTER_MS = 300, MARKED_TURNS = 3, SENDERS_LATELY = 8 };

/* -- answers */

static const struct sim_conversation *conversation_of(const struct sim_world *w, const struct sim_call *call)
{
    return &w->oracle.conversations[call->conversation];
}

static uint32_t listed_mask(const struct sim_world *w, uint32_t user)
{
    uint32_t mask = 0;
    for (uint32_t i = 0; i < w->oracle.conversation_count; i++)
        if (w->oracle.conversations[i].exists && w->oracle.conversations[i].members[user].listed)
            mask |= 1u << i;
    return mask;
}

static int outcome_of(const struct sim_world *w, const struct sim_call *call)
{
    const struct shard_request *r = &call->request;
    bool again;
    if (call->op)
        return sim_oracle_judge(&w->oracle, call->op, call->altered, &again);
    if (r->kind == SHARD_LIST || r->kind == SHARD_LARGE)
        return 0;
    if (call->wanted && !call->wanted->event_id && !sim_oracle_may_read(conversation_of(w, call), call->user))
        return call->wanted->fence_id ? -PARLEY_ERR_FENCED : -PARLEY_ERR_NOT_FOUND;
    if (r->kind == SHARD_PROFILE)
        return w->oracle.profiles[call->user].count ? 0 : -PARLEY_ERR_NOT_FOUND;
    if (r->command.service && r->kind != SHARD_TYPING)
        return conversation_of(w, call)->exists ? 0 : -PARLEY_ERR_NOT_FOUND;
    int err = sim_oracle_may_read(conversation_of(w, call), call->user);
    bool mute = r->kind == SHARD_TYPING && !err &&
                conversation_of(w, call)->members[call->user].role == ROLE_READ_ONLY;
    return mute ? -PARLEY_ERR_FORBIDDEN : err;
}

static void add_outcome(struct sim_call *call, int outcome)
{
    for (uint32_t i = 0; i < call->outcome_count; i++)
        if (call->outcomes[i] == outcome)
            return;
    parley_assert(call->outcome_count < SIM_OUTCOMES_MAX);
    call->outcomes[call->outcome_count++] = outcome;
}

void sim_check_arrival(struct sim_world *w, struct sim_call *call)
{
    call->arrival = ++w->arrivals;
    call->messages_then = conversation_of(w, call)->message_count;
    call->listed_then = listed_mask(w, call->user);
    if (conversation_of(w, call)->members)
        call->read_then = conversation_of(w, call)->members[call->user].read_seq;
    add_outcome(call, outcome_of(w, call));
}

void sim_check_outcomes(struct sim_world *w)
{
    for (struct sim_call *call = w->calls; call; call = call->next) {
        if (call->phase != SIM_INSIDE)
            continue;
        add_outcome(call, outcome_of(w, call));
        call->listed_then &= listed_mask(w, call->user);
    }
}

static bool passes(const struct sim_world *w, int err)
{
    if (err == -PARLEY_ERR_FULL || err == -PARLEY_ERR_DISK_FULL)
        return true;
    if (err == -PARLEY_ERR_CLOSING || err == -PARLEY_ERR_INTERNAL)
        return !w->up;
    return err == -PARLEY_ERR_CORRUPT && w->damaged;
}

static void must_be_joined(const struct sim_member *m, const struct sim_call *call)
{
    bool found = false;
    for (uint32_t i = 0; i < m->interval_count; i++)
        found = found || m->intervals[i].joined == call->request.id;
    sim_must(found, "answer", "call %" PRIu64 ": he joined by %" PRIu64 "? no such event is committed",
             call->number, call->request.id);
}

static void note_listed(struct sim_world *w, const struct sim_call *call)
{
    struct sim_conversation *c = &w->oracle.conversations[call->conversation];
    const struct sim_op *op = call->op;
    struct sim_member *m = &c->members[op->kind == COMMAND_ADD ? op->target : op->user];
    if ((op->kind == COMMAND_ADD || op->kind == COMMAND_CREATE) && sim_member_joined(m) == call->request.id &&
        sim_member_in(m))
        m->listed = true;
}

/* A receipt that says nothing new is answered with no id. */
static void check_receipt(const struct sim_call *call, const struct sim_conversation *c)
{
    const struct shard_request *r = &call->request;
    const struct sim_op *op = call->op;
    const struct sim_member *m = &c->members[op->user];
    uint64_t read = m->read_seq, delivered = m->delivered_seq;
    bool found = r->duplicate && r->id == 0;
    for (uint32_t i = 0; i < c->change_count && !found && r->id; i++) {
        const struct sim_change *e = &c->changes[i];
        found = e->id == r->id && e->kind == EVENT_RECEIPT && e->user == op->user;
        read = e->read_seq;
        delivered = e->delivered_seq;
    }
    sim_must(found && read >= op->read_seq && delivered >= op->read_seq && delivered >= op->delivered_seq,
             "answer",
             "call %" PRIu64 ": a receipt of %" PRIu64 " read, %" PRIu64
             " delivered is answered with %" PRIu64,
             call->number, op->read_seq, op->delivered_seq, r->id);
}

static void check_first(const struct sim_call *call, uint64_t id, uint64_t seq)
{
    const struct shard_request *r = &call->request;
    sim_must(id && r->id == id && r->seq == seq, "answer",
             "call %" PRIu64 ": %" PRIu64 ", seq %" PRIu64 "? committed is %" PRIu64 ", seq %" PRIu64,
             call->number, r->id, r->seq, id, seq);
}

static void check_order(const struct sim_call *call, struct sim_conversation *c)
{
    const struct shard_request *r = &call->request;
    if (call->op->kind != COMMAND_SEND || r->duplicate)
        return;
    sim_must(r->seq > c->answered_seq && call->arrival > c->answered_arrival, "order",
             "call %" PRIu64 " has seq %" PRIu64
             ", though one that came before it, or after it, has %" PRIu64,
             call->number, r->seq, c->answered_seq);
    c->answered_seq = r->seq;
    c->answered_arrival = call->arrival;
}

static void check_command(struct sim_world *w, const struct sim_call *call)
{
    const struct shard_request *r = &call->request;
    struct sim_conversation *c = &w->oracle.conversations[call->conversation];
    struct sim_op *op = call->op;
    if (op->kind == COMMAND_CREATE) {
        sim_must(c->exists && r->id == c->created_id, "answer",
                 "call %" PRIu64 ": created as %" PRIu64 "? committed is %" PRIu64, call->number, r->id,
                 c->created_id);
    } else if (op->kind == COMMAND_ADD && r->id != op->event_id) {
        must_be_joined(&c->members[op->target], call);
        op->was_nothing = true;
    } else if (op->kind == COMMAND_RECEIPT) {
        check_receipt(call, c);
        op->was_nothing = true;
    } else if (op->kind == COMMAND_FENCE) {
        bool sent = op->of->event_id > op->of->fence_id;
        check_first(call, sent ? op->of->event_id : op->of->fence_id, sent ? op->of->event_seq : 0);
    } else {
        check_first(call, op->event_id, op->event_seq);
    }
    note_listed(w, call);
    check_order(call, c);
}

static void check_message(const struct sim_world *w, const struct sim_call *call, const struct message *m,
                          const struct sim_message *is)
{
    const char *sender = w->users[is->op->user].name;
    bool same = m->id == is->id && m->seq == is->seq && m->time_ms == is->time_ms &&
                sim_op_body_is(is->op, m->body) && m->sender.len == strlen(sender) &&
                memcmp(m->sender.data, sender, m->sender.len) == 0 &&
                m->created_at_ms == is->op->created_at_ms && m->client_id.len == strlen(is->op->client_id) &&
                memcmp(m->client_id.data, is->op->client_id, m->client_id.len) == 0;
    sim_must(same, "answer",
             "call %" PRIu64 ": message %" PRIu64 ", seq %" PRIu64 ", is not as committed (%" PRIu64
             ", seq %" PRIu64 ")",
             call->number, m->id, m->seq, is->id, is->seq);
}

/* Messages one after the other, as they were committed. Gives where they begin. */
static uint32_t check_run(const struct sim_world *w, const struct sim_call *call)
{
    const struct sim_conversation *c = conversation_of(w, call);
    const struct shard_page *page = &call->request.page;
    struct chunk_cursor at = chunk_begin((struct span){page->entries, page->len});
    struct message m;
    uint32_t from = 0, count = 0;
    for (; chunk_next(&at, &m) == 0; count++) {
        if (count == 0)
            from = sim_oracle_message_at(c, m.id);
        sim_must(from + count < c->message_count, "answer",
                 "call %" PRIu64 ": message %" PRIu64 " is not committed", call->number, m.id);
        check_message(w, call, &m, &c->messages[from + count]);
    }
    sim_must(count == page->count, "answer", "call %" PRIu64 ": %u entries, %u are sound", call->number,
             page->count, count);
    return from;
}

static void check_history(const struct sim_world *w, const struct sim_call *call)
{
    const struct sim_conversation *c = conversation_of(w, call);
    const struct shard_page *page = &call->request.page;
    const struct history_query *q = &call->request.history;
    uint32_t from = check_run(w, call), to = from + page->count;
    bool good = page->count <= q->limit;
    bool at_limit =
        page->count == q->limit || page->len + w->plan->body_bytes_max + SIM_TEXT_BYTES > HISTORY_BYTES_MAX;
    if (q->way == HISTORY_AFTER) {
        uint32_t begin = sim_oracle_message_at(c, q->from + 1);
        good = good && (page->count == 0 || from == begin) &&
               (page->newer || begin + page->count >= call->messages_then) && (at_limit || !page->newer) &&
               (!page->newer || to < c->message_count);
    } else if (q->way == HISTORY_BEFORE) {
        uint32_t end = q->from ? sim_oracle_message_at(c, q->from) : c->message_count;
        uint32_t end_then = q->from || call->messages_then > end ? end : call->messages_then;
        good = good && (page->count ? to >= end_then && to <= end : end_then == 0) &&
               (at_limit || from == 0) && page->older == (from > 0);
    } else if (page->count) {
        uint32_t middle = sim_oracle_message_at(c, q->from);
        good = good && from <= middle && (middle >= call->messages_then || to > middle);
    }
    sim_must(good, "answer",
             "call %" PRIu64 ": a page of messages %u..%u (way %d, from %" PRIu64
             ", limit %u), %u were there "
             "before, %u are now",
             call->number, from, to, (int)q->way, q->from, q->limit, call->messages_then, c->message_count);
}

static void check_list(const struct sim_world *w, const struct sim_call *call)
{
    const struct shard_page *page = &call->request.page;
    uint32_t found = 0;
    struct bytes_reader r = bytes_reader_of(page->entries, page->len);
    for (uint32_t i = 0; i < page->count; i++) {
        struct id16 id = bytes_get_id16(&r);
        uint64_t joined = bytes_get_u64(&r);
        const struct sim_conversation *c = sim_oracle_find(&w->oracle, &id);
        bool was_in = false;
        for (uint32_t k = 0; c && k < c->members[call->user].interval_count; k++)
            was_in = was_in || c->members[call->user].intervals[k].joined == joined;
        sim_must(was_in, "lists", "call %" PRIu64 ": u%u is told of a conversation that he was never in",
                 call->number, call->user);
        found |= 1u << (c - w->oracle.conversations);
    }
    uint32_t lacks = call->listed_then & ~found;
    sim_must(!lacks, "lists", "call %" PRIu64 ": the list of u%u lacks conversation %d, of which he was told",
             call->number, call->user, __builtin_ctz(lacks | 1u << 31));
}

static void check_profile(const struct sim_world *w, const struct sim_call *call)
{
    const struct shard_page *page = &call->request.page;
    unsigned number = 0;
    for (size_t i = 6; i < page->len; i++)
        number = number * 10 + (page->entries[i] - '0');
    bool known = number < w->oracle.op_count && w->oracle.ops[number]->kind == COMMAND_PROFILE &&
                 w->oracle.ops[number]->user == call->user && w->oracle.ops[number]->event_id;
    sim_must(known, "answer", "call %" PRIu64 ": u%u has a name that was never committed", call->number,
             call->user);
}

/* Of the actor: between what was so when it came and what is so now. What he sent lately he has read. */
static uint64_t sent_lately(const struct sim_conversation *c, uint32_t user)
{
    const struct sim_op *senders[SENDERS_LATELY];
    uint32_t count = 0;
    for (uint32_t i = c->message_count; i > 0; i--) {
        uint32_t known = 0;
        while (known < count && senders[known]->user != c->messages[i - 1].op->user)
            known++;
        if (c->messages[i - 1].op->user == user)
            return i;
        if (known == count && ++count == SENDERS_LATELY)
            return 0;
        senders[known] = c->messages[i - 1].op;
    }
    return 0;
}

static void check_summary(const struct sim_world *w, const struct sim_call *call)
{
    const struct conversation_summary *s = &call->request.summary;
    const struct sim_conversation *c = conversation_of(w, call);
    const struct sim_member *m = &c->members[call->user];
    bool at_rest = call->messages_then == c->message_count && call->read_then == m->read_seq;
    sim_must(s->last_seq >= call->messages_then && s->last_seq <= c->message_count, "answer",
             "call %" PRIu64 ": the summary has %" PRIu64 " messages, %u were there before, %u are now",
             call->number, s->last_seq, call->messages_then, c->message_count);
    if (!s->role) /* he left meanwhile, or never was in */
        return;
    uint64_t sent = sent_lately(c, call->user), seen = sent > m->read_seq ? sent : m->read_seq;
    sim_must(s->read_seq >= call->read_then && s->read_seq <= m->read_seq &&
                 s->delivered_seq <= m->delivered_seq && s->unread <= s->last_seq - s->read_seq &&
                 (!at_rest || s->unread == s->last_seq - seen),
             "answer",
             "call %" PRIu64 ": u%u has read %" PRIu64 ", been delivered %" PRIu64 ", %" PRIu64 " of %" PRIu64
             " are unread; the log says %" PRIu64 ", %" PRIu64 ", %" PRIu64,
             call->number, call->user, s->read_seq, s->delivered_seq, s->unread, s->last_seq, m->read_seq,
             m->delivered_seq, c->message_count - seen);
}

static void check_one_message(const struct sim_world *w, const struct sim_call *call)
{
    const struct sim_conversation *c = conversation_of(w, call);
    uint32_t from = check_run(w, call);
    sim_must(call->request.page.count == 1 && c->messages[from].op == call->wanted, "answer",
             "call %" PRIu64 ": not the message that was asked for", call->number);
}

void sim_check_answer(struct sim_world *w, struct sim_call *call)
{
    struct shard_request *r = &call->request;
    bool justified = false;
    sim_trace_result()->answers++;
    if (r->error && passes(w, r->error))
        return;
    if (call->op && sim_oracle_is_vague(&w->oracle, call->op))
        return;
    add_outcome(call, outcome_of(w, call));
    for (uint32_t i = 0; i < call->outcome_count; i++)
        justified = justified || call->outcomes[i] == r->error;
    sim_must(justified, "answer", "call %" PRIu64 " is answered %s; the logs say %s", call->number,
             r->error ? parley_err_code(r->error) : "ok",
             call->outcomes[0] ? parley_err_code(call->outcomes[0]) : "ok");
    if (r->error)
        return;
    switch (r->kind) {
    case SHARD_COMMAND:
        check_command(w, call);
        break;
    case SHARD_HISTORY:
        check_history(w, call);
        break;
    case SHARD_MESSAGE:
        check_one_message(w, call);
        break;
    case SHARD_LIST:
        check_list(w, call);
        break;
    case SHARD_PROFILE:
        check_profile(w, call);
        break;
    case SHARD_CONVERSATION:
        check_summary(w, call);
        break;
    default:
        break;
    }
}

void sim_check_effect(struct sim_world *w, const struct shard_effect *effect)
{
    const struct event *e = effect->event;
    if (e->kind == EVENT_PROFILE)
        return;
    const struct sim_conversation *c = sim_oracle_find(&w->oracle, &e->conversation);
    uint32_t pages = c->page_count <= MACHINE_FANOUT_PAGES_MAX ? c->page_count : 0, members = 0;
    sim_must(effect->page_count == pages, "content", "event %" PRIu64 " reaches %u pages of %u", e->id,
             effect->page_count, pages);
    for (uint32_t i = 0; i < pages; i++)
        members += page_active_count(effect->pages[i]->applied);
    sim_must(!pages || members == c->member_count, "content", "event %" PRIu64 " reaches %u members of %u",
             e->id, members, c->member_count);
}

/* -- a shard, from outside */

static void check_trim(const struct sim_world *w, const struct sim_shard *s)
{
    uint64_t start = log_start(s->shard->log), offset;
    struct rows_position persisted;
    if (rows_load_position(s->shard->store, STORE_PERSISTED, &persisted) == 0)
        sim_must(start <= (persisted.redo ? persisted.redo : 1), "trim",
                 "shard %u: the log begins at %" PRIu64 ", persisted is %" PRIu64, s->number, start,
                 persisted.redo);
    for (uint32_t n = 0; n < w->plan->shards; n++)
        if (rows_load_offset(w->shards[n].shard->store, s->number, STORE_PERSISTED, &offset) == 0)
            sim_must(start <= offset, "trim",
                     "shard %u: the log begins at %" PRIu64 ", shard %u has persisted %" PRIu64 " of it",
                     s->number, start, n, offset);
}

static void check_bounds(const struct sim_world *w, struct sim_shard *s)
{
    uint64_t end = log_end(s->shard->log), offset;
    struct rows_position position;
    if (rows_load_position(s->shard->store, STORE_ALL, &position) == 0)
        sim_must(position.max_position < end && position.redo <= end, "bounds",
                 "shard %u: rows up to %" PRIu64 ", redo %" PRIu64 ", the log ends at %" PRIu64, s->number,
                 position.max_position, position.redo, end);
    for (uint32_t n = 0; n < w->plan->shards; n++)
        if (rows_load_offset(w->shards[n].shard->store, s->number, STORE_ALL, &offset) == 0)
            sim_must(offset <= end, "bounds", "shard %u has derived shard %u up to %" PRIu64 " of %" PRIu64,
                     n, s->number, offset, end);
    sim_must(log_ceiling(s->shard->log) >= s->ceiling || w->damaged, "ids",
             "shard %u: a ceiling falls from %" PRIu64 " to %" PRIu64, s->number, s->ceiling,
             log_ceiling(s->shard->log));
    s->ceiling = log_ceiling(s->shard->log);
    const struct sim_log_copy *log = &w->oracle.logs[s->number];
    sim_must(!log->count || log->events[log->count - 1].id <= s->ceiling || w->damaged, "ids",
             "shard %u: event %" PRIu64 " is above the ceiling %" PRIu64, s->number,
             log->events[log->count - 1].id, s->ceiling);
}

/* What is decided when the limit is reached: two blocks, each as long as it is padded; and the segment that begins. */
static uint64_t taken_bytes(const struct sim_plan *p)
{
    return 3ull * p->segment_bytes;
}

static void check_log_limit(const struct sim_plan *p, const struct sim_shard *s)
{
    uint64_t bytes = log_bytes(s->shard->log);
    sim_must(bytes <= p->log_bytes_max + taken_bytes(p), "limits",
             "shard %u: the log has %" PRIu64 " bytes, %u are allowed", s->number, bytes, p->log_bytes_max);
}

static void check_limits(const struct sim_world *w, struct sim_shard *s)
{
    const struct sim_plan *p = w->plan;
    const struct shard *shard = s->shard;
    uint32_t requests = shard->waiting_count + shard->queued_count;
    sim_must(requests <= 2 * p->requests_max + SIM_INBOX_MAX, "limits", "shard %u: %u requests wait, %u may",
             s->number, requests, p->requests_max);
    sim_must(shard->writeback.dirty_bytes <= p->dirty_bytes_max + taken_bytes(p), "limits",
             "shard %u: %" PRIu64 " bytes are dirty, %u may be", s->number, shard->writeback.dirty_bytes,
             p->dirty_bytes_max);
    check_log_limit(p, s);
}

/* Longer than the log takes to write its mark, and turns enough to do it. */
static void note_mark(const struct sim_world *w, struct sim_shard *s)
{
    uint64_t now = clock_monotonic_ms(&w->clock.source);
    if (!log_idle(s->shard->log)) {
        s->idle_since_ms = now;
        s->idle_turns = 0;
    } else if (now - s->idle_since_ms > MARKED_AFTER_MS && ++s->idle_turns >= MARKED_TURNS) {
        s->marked = log_end(s->shard->log);
    }
}

void sim_check_shard(struct sim_world *w, struct sim_shard *s)
{
    check_trim(w, s);
    check_bounds(w, s);
    check_limits(w, s);
    note_mark(w, s);
    if (log_start(s->shard->log) > s->trimmed) {
        sim_trace_result()->trimmed++;
        s->trimmed = log_start(s->shard->log);
        sim_say("shard %u: trimmed to %" PRIu64, s->number, s->trimmed);
    }
}

/* -- after a start */

bool sim_check_derived_more(const struct sim_shard *s, const struct sim_shard *source)
{
    uint64_t offset;
    return rows_load_offset(s->shard->store, source->number, STORE_ALL, &offset) == 0 &&
           offset > log_end(source->shard->log);
}

struct log_reading {
    struct sim_world *world;
    struct sim_shard *shard;
    uint64_t next; /* position */
};

static int on_record(void *owner, uint64_t position, uint32_t count, struct span bytes)
{
    struct log_reading *reading = owner;
    struct sim_oracle *o = &reading->world->oracle;
    uint32_t n = reading->shard->number;
    struct bytes_reader r = bytes_reader_of(bytes.data, bytes.len);
    sim_must(position == reading->next, "log", "shard %u: position %" PRIu64 " follows, not %" PRIu64, n,
             position, reading->next);
    reading->next = position + count;
    for (uint32_t i = 0; i < count; i++) {
        struct event event;
        sim_must(event_decode(&r, &event) == 0, "log", "shard %u: position %" PRIu64 " is no event", n,
                 position + i);
        if (position + i <= o->logs[n].count)
            sim_oracle_same(o, n, position + i, &event);
        else
            sim_oracle_feed(o, n, &event, false);
    }
    return 0;
}

bool sim_check_log(struct sim_world *w, struct sim_shard *s)
{
    struct log *log = s->shard->log;
    struct log_reading reading = {w, s, log_start(log)};
    uint64_t end = log_end(log), committed = w->oracle.logs[s->number].count + 1;
    struct rows_position position = {0};
    sim_must(end >= committed || w->damaged, "log",
             "shard %u: the log ends at %" PRIu64 ", up to %" PRIu64 " was committed", s->number, end,
             committed);
    if (rows_load_position(s->shard->store, STORE_ALL, &position) == 0)
        sim_must(position.max_position < end, "damage",
                 "shard %u starts with a log up to %" PRIu64 ", its store has %" PRIu64, s->number, end,
                 position.max_position);
    if (end < committed) {
        sim_must(s->report.mark <= end && s->marked <= end, "damage",
                 "shard %u starts with a log up to %" PRIu64 ", it was idle at %" PRIu64, s->number, end,
                 s->marked);
        return false;
    }
    int err = log_read(log, log_start(log), end, on_record, &reading);
    sim_must(!err || w->damaged, "log", "shard %u: the log cannot be read: %s", s->number,
             parley_err_code(err));
    sim_must(err || reading.next == end, "log", "shard %u: the log ends at %" PRIu64 ", not %" PRIu64,
             s->number, reading.next, end);
    return !err;
}
