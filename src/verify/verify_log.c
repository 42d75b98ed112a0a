/* The log: its blocks, its events one by one, and what its tail makes of the objects. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/error.h"
#include "src/base/memory.h"
#include "src/shard/large_set.h"
#include "src/verify/verify_internal.h"

void verify_log_open(struct verify_shard *s)
{
    bool complete = s->verify->folder.complete;
    struct log_options options = {.dir = s->log_dir, .files = s->verify->files, .must_exist = complete};
    struct log_report *report = &s->log_report;
    if (verify_failed(s->verify, log_inspect(&options, report, &s->log_verdict, &s->log)))
        return;
    if (complete && !s->log && !s->log_verdict) { /* not even its folder is there */
        s->log_verdict = -PARLEY_ERR_LOST;
        snprintf(report->text, sizeof report->text, "the log is missing");
    }
    s->counts.log_start = report->start;
    s->counts.log_end = report->end;
    s->counts.torn_bytes = s->log_verdict ? 0 : report->torn_bytes;
    s->begins_again = s->log_verdict != 0;
}

static int on_record_first(void *owner, uint64_t position, uint32_t count, struct span bytes)
{
    struct verify_shard *s = owner;
    struct bytes_reader r = bytes_reader_of(bytes.data, bytes.len);
    struct event e;
    for (uint32_t i = 0; i < count; i++)
        if (event_decode(&r, &e) != 0) {
            s->log_is_foreign = position + count > s->position.redo;
            return s->log_is_foreign ? -PARLEY_ERR_END : 0;
        }
    return 0;
}

void verify_log_scout(struct verify_shard *s)
{
    if (!s->log)
        return;
    uint64_t start = log_start(s->log), end = log_end(s->log);
    uint64_t from = s->position.redo > start ? s->position.redo : start;
    int err = from < end ? log_read(s->log, from, end, on_record_first, s) : 0;
    if (err != -PARLEY_ERR_END)
        (void)verify_failed(s->verify, err); /* of what is damaged, the next reading tells */
}

void verify_log_tell(struct verify_shard *s)
{
    const struct log_report *report = &s->log_report;
    char where[VERIFY_WHERE_BYTES];
    if (!s->log_verdict)
        return;
    snprintf(where, sizeof where, "shard-%04u/log/%.128s at %llu", s->number,
             report->file[0] ? report->file : "mark", (unsigned long long)report->offset);
    verify_find(s, s->log_verdict == -PARLEY_ERR_LOST ? VERIFY_KIND_LOG_LOST : VERIFY_KIND_LOG_DAMAGED, where,
                "%s; it is good up to position %llu, and had events up to %llu or more", report->text,
                (unsigned long long)report->end - 1, (unsigned long long)report->seen_end - 1);
}

static void check_offset(struct verify_shard *source, const struct verify_shard *destination)
{
    unsigned long long offset = destination->offsets[source->number];
    char where[VERIFY_WHERE_BYTES];
    snprintf(where, sizeof where, "shard-%04u/store: meta, derived %u", destination->number, source->number);
    if (offset > source->log_report.end && !source->begins_again) {
        verify_find(source, VERIFY_KIND_LOG_SHORT, where,
                    "shard %u has derived what is below position %llu, but the log ends at %llu",
                    destination->number, offset, (unsigned long long)source->log_report.end);
        source->begins_again = true;
    } else if (offset > 0 && offset < source->log_report.start) { /* 0: it cannot be read, which is told */
        verify_find(source, VERIFY_KIND_OFFSET, where,
                    "shard %u has derived what is below position %llu, but the log begins at %llu",
                    destination->number, offset, (unsigned long long)source->log_report.start);
    }
}

static void check_ends(struct verify_shard *s)
{
    const struct log_report *log = &s->log_report;
    uint64_t redo = s->position.redo ? s->position.redo : 1;
    struct verify_where where = verify_at(s, "meta, position", 0, NULL, 0);
    if (!s->store) /* what it says is not known */
        return;
    if ((s->position.max_position >= log->end || redo > log->end) && !s->begins_again) {
        verify_find(s, VERIFY_KIND_LOG_SHORT, where.text,
                    "the store has events up to position %llu, but the log ends at %llu",
                    (unsigned long long)s->position.max_position, (unsigned long long)log->end);
        s->begins_again = true;
    }
    if (redo < log->start) {
        verify_find(s, VERIFY_KIND_LOG_GAP, where.text,
                    "the store needs the log from position %llu, but it begins at %llu",
                    (unsigned long long)redo, (unsigned long long)log->start);
        s->begins_again = true;
    }
}

void verify_log_ends(struct verify *v)
{
    for (uint32_t i = 0; i < v->folder.shard_count; i++) {
        check_ends(&v->shards[i]);
        for (uint32_t d = 0; d < v->folder.shard_count; d++)
            if (v->shards[d].store)
                check_offset(&v->shards[i], &v->shards[d]);
    }
}

/* ---- events */

struct reading {
    struct verify_shard *shard;
    uint32_t *order; /* destinations by rising offset */
    uint32_t next;   /* of them: who has not derived this event yet */
    uint64_t last_id;
};

static int by_offset(const void *a, const void *b, void *owner)
{
    const struct verify_shard *s = owner;
    uint64_t x = s->verify->shards[*(const uint32_t *)a].offsets[s->number];
    uint64_t y = s->verify->shards[*(const uint32_t *)b].offsets[s->number];
    return x < y ? -1 : x > y;
}

static struct verify_where at_position(const struct verify_shard *s, uint64_t position)
{
    struct verify_where w;
    snprintf(w.text, sizeof w.text, "shard-%04u/log: position %llu", s->number, (unsigned long long)position);
    return w;
}

static bool members_hash(struct verify *v, const struct event *e)
{
    struct bytes_reader r = bytes_reader_of(e->members.data, e->members.len);
    bool same = true;
    for (uint32_t i = 0; i < e->member_count; i++) {
        struct member_view m = member_get(&r);
        struct id16 hash = hash_128(&v->folder.key, m.user.data, m.user.len);
        same = same && memcmp(&hash, &m.hash, sizeof hash) == 0;
    }
    return same;
}

/* What an event says of itself; NULL when it adds up. */
static const char *event_is_wrong(struct reading *reading, const struct event *e)
{
    struct verify_shard *s = reading->shard;
    struct verify *v = s->verify;
    struct hasher hasher = verify_hasher(v);
    bool profile = e->kind == EVENT_PROFILE, targeted = e->target.len > 0;
    if (e->id <= reading->last_id)
        return "its id is not above the one before";
    if (snowflake_shard(e->id) != s->number)
        return "its id is of another shard";
    if (e->kind == EVENT_TICK)
        return NULL;
    if (verify_owner(v, profile ? &e->target_hash : &e->conversation) != s)
        return "it belongs to another shard";
    struct id16 target = hash_128(&v->folder.key, e->target.data, e->target.len);
    if ((targeted && memcmp(&target, &e->target_hash, sizeof target) != 0) || !members_hash(v, e))
        return "a user's hash is not his";
    if (!e->client_id.len)
        return NULL;
    struct id16 fingerprint = machine_fingerprint(&hasher, e->actor, e->client_id);
    return memcmp(&fingerprint, &e->fingerprint, sizeof fingerprint) ? "its fingerprint is wrong" : NULL;
}

struct chunk_search {
    const struct event *event;
    bool found, same;
};

static int in_chunk(void *owner, struct span key, struct span row)
{
    struct chunk_search *search = owner;
    const struct event *e = search->event;
    struct message m;
    (void)key;
    search->found = chunk_find_id(row, e->id, &m) == 0;
    search->same = search->found && m.seq == e->seq && m.time_ms == e->time_ms &&
                   m.sender.len == e->actor.len && memcmp(m.sender.data, e->actor.data, m.sender.len) == 0 &&
                   m.body.len == e->body.len && memcmp(m.body.data, e->body.data, m.body.len) == 0;
    return 1;
}

/* The store says that it has this message. */
static void check_message_row(struct verify_shard *s, const struct event *e)
{
    uint8_t key[ROWS_CHUNK_KEY_BYTES];
    uint32_t month = snowflake_month(e->id);
    struct chunk_search search = {.event = e};
    rows_chunk_key(&e->conversation, e->id, key);
    struct store_key from = {STORE_MESSAGES, month, {key, sizeof key}};
    int err = store_scan(s->store, from, sizeof e->conversation, in_chunk, &search);
    if (verify_failed(s->verify, err) || err || search.same)
        return;
    struct verify_where where = verify_at(s, "messages", month, &e->conversation, e->id);
    verify_find(s, VERIFY_KIND_MESSAGE_LOG, where.text, "message %llu is in the log, but %s",
                (unsigned long long)e->seq,
                search.found ? "its row says something else" : "not in the store, which says that it is");
}

struct entry_search {
    const struct event *event;
    bool found, same;
};

static int in_dedup_row(void *owner, struct span key, struct span row)
{
    struct entry_search *search = owner;
    const struct event *e = search->event;
    struct bytes_reader r = bytes_reader_of(row.data, row.len);
    (void)key;
    while (!search->found && !bytes_reader_done(&r)) {
        struct dedup_entry entry = dedup_get_entry(&r);
        if (r.failed)
            return 1;
        search->found = entry.id == e->id;
        search->same = search->found && entry.kind == e->kind && entry.seq == e->seq &&
                       entry.payload_hash == e->payload_hash &&
                       memcmp(&entry.fingerprint, &e->fingerprint, sizeof entry.fingerprint) == 0;
    }
    return 1;
}

static bool has_month(const struct verify_shard *s, uint32_t month)
{
    enum { MONTHS_MAX = 256 };
    uint32_t months[MONTHS_MAX];
    size_t count = store_months(s->store, months, MONTHS_MAX);
    for (size_t i = 0; i < count; i++)
        if (months[i] == month)
            return true;
    return false;
}

/* The store says that it knows this command: a retry is answered as it was, and what was fenced stays refused. Messages are
 * compared with their entries when their conversation is looked at. */
static void check_dedup_row(struct verify_shard *s, const struct event *e)
{
    uint8_t key[ROWS_CHUNK_KEY_BYTES];
    uint32_t month = snowflake_month(e->id);
    struct entry_search search = {.event = e};
    if (!e->client_id.len || e->kind == EVENT_PROFILE || !has_month(s, month))
        return;
    rows_chunk_key(&e->conversation, e->id, key);
    struct store_key from = {STORE_DEDUP, month, {key, sizeof key}};
    int err = store_scan(s->store, from, sizeof e->conversation, in_dedup_row, &search);
    if (verify_failed(s->verify, err) || err || search.same)
        return;
    struct verify_where where = verify_at(s, "dedup", month, &e->conversation, e->id);
    if (search.found)
        verify_find(s, VERIFY_KIND_DEDUP_WRONG, where.text,
                    "the log says something else of this %s: a retry would get a wrong answer",
                    e->kind == EVENT_FENCED ? "fence" : "command");
    else
        verify_find(s, VERIFY_KIND_DEDUP_MISSING, where.text,
                    "the log has a %s here, which the store does not %s",
                    e->kind == EVENT_FENCED ? "fence" : "command",
                    e->kind == EVENT_FENCED ? "know: what it keeps out could still be sent"
                                            : "know: a retry would be done once more");
}

static void check_rows(struct verify_shard *s, const struct event *e)
{
    if (e->kind == EVENT_MESSAGE)
        check_message_row(s, e);
    else
        check_dedup_row(s, e);
}

/* A receipt speaks of messages that are there when it is decided. */
static void check_receipt(struct verify_shard *s, const struct conversation *c, const struct event *e,
                          uint64_t position)
{
    if (e->kind == EVENT_RECEIPT && e->delivered_seq > c->applied.last_seq)
        verify_find(s, VERIFY_KIND_RECEIPT, at_position(s, position).text,
                    "the receipt is of message %llu, but there are only %llu",
                    (unsigned long long)e->delivered_seq, (unsigned long long)c->applied.last_seq);
}

/* One object that the event touches: false when the others are not to be touched either. */
static bool apply_to(struct verify_shard *s, const struct machine_key *key, const struct event *e,
                     uint64_t position)
{
    struct object *node;
    int err = rows_need(s->store, &s->now, key, &node);
    if (verify_failed(s->verify, err))
        return false;
    if (err || node->load_error) { /* its rows are damaged, which the walk will tell */
        node->load_error = -PARLEY_ERR_CORRUPT;
        return false;
    }
    if (!node->dirty_from)
        verify_note(s, object_position(node), 0);
    if (object_position(node) >= position) {
        if (!node->dirty_from && key->kind == OBJECT_CONVERSATION)
            check_rows(s, e);
        return true;
    }
    if (key->kind == OBJECT_CONVERSATION)
        check_receipt(s, node->is.conversation, e, position);
    err = object_apply(node, e, position);
    if (verify_failed(s->verify, err))
        return false;
    if (!err) {
        node->dirty_from = node->dirty_from ? node->dirty_from : position;
        return true;
    }
    node->load_error = err;
    s->begins_again = true;
    verify_find(s, VERIFY_KIND_LOG_REPLAY, at_position(s, position).text,
                "the event does not follow what the store has: rows or events before it are missing");
    return false;
}

static void note_skipped(struct verify_shard *s, uint64_t position, uint64_t id)
{
    struct verify_skipped *skipped = &s->skipped;
    if (skipped->count++ == 0) {
        skipped->first = position;
        skipped->first_id = id;
    }
    skipped->last = position;
    skipped->last_id = id;
}

static void apply(struct verify_shard *s, const struct event *e, uint64_t position)
{
    struct machine_key keys[MACHINE_KEYS_MAX];
    uint32_t touched = machine_touches(e, keys), done = 0;
    if (position < s->position.redo) {
        check_rows(s, e);
        return;
    }
    if (s->log_is_foreign) /* then there is no state as of the log's end */
        return;
    while (done < touched && apply_to(s, &keys[done], e, position))
        done++;
    if (done < touched)
        note_skipped(s, position, e->id);
}

/* Who has not derived this event does not know yet that the conversation is large. */
static void note_turned(struct verify_shard *s, const struct event *e)
{
    struct verify_turned *turned = memory_realloc(s->turned, (s->turned_count + 1) * sizeof *s->turned);
    if (!turned) {
        (void)verify_failed(s->verify, -PARLEY_ERR_NOMEM);
        return;
    }
    s->turned = turned;
    s->turned[s->turned_count++] = (struct verify_turned){e->conversation, e->id};
}

/* Whoever has derived less than this does not know of it. */
static void note_underived(struct reading *reading, uint64_t position, uint64_t id)
{
    struct verify_shard *s = reading->shard;
    for (; reading->next < s->verify->folder.shard_count; reading->next++) {
        uint32_t d = reading->order[reading->next];
        if (s->verify->shards[d].offsets[s->number] > position)
            return;
        s->bounds[d] = id;
    }
}

static int on_record(void *owner, uint64_t position, uint32_t count, struct span bytes)
{
    struct reading *reading = owner;
    struct verify_shard *s = reading->shard;
    struct bytes_reader r = bytes_reader_of(bytes.data, bytes.len);
    struct event e;
    for (uint32_t i = 0; i < count && !s->verify->error; i++) {
        verify_report_looked(s->verify->report);
        if (event_decode(&r, &e) != 0) {
            verify_find(s, VERIFY_KIND_LOG_EVENT, at_position(s, position + i).text,
                        "the event cannot be read");
            return 0;
        }
        const char *wrong = event_is_wrong(reading, &e);
        if (wrong)
            verify_find(s, VERIFY_KIND_LOG_EVENT, at_position(s, position + i).text, "%s", wrong);
        s->log_first_id = s->log_first_id ? s->log_first_id : e.id;
        reading->last_id = e.id > reading->last_id ? e.id : reading->last_id;
        note_underived(reading, position + i, e.id);
        if (e.kind == EVENT_SPLIT && e.page_count == MACHINE_LARGE_PAGES)
            note_turned(s, &e);
        if (e.kind == EVENT_RECEIPT)
            (void)verify_failed(s->verify, verify_receipts_note(&s->receipts, &e));
        apply(s, &e, position + i);
    }
    if (!bytes_reader_done(&r) && !s->verify->error)
        verify_find(s, VERIFY_KIND_LOG_EVENT, at_position(s, position).text,
                    "the record has more bytes than events");
    return 0;
}

static void read_log(struct verify_shard *s, struct reading *reading)
{
    uint64_t start = log_start(s->log), end = log_end(s->log);
    int err = start < end ? log_read(s->log, start, end, on_record, reading) : 0;
    if (err && !verify_failed(s->verify, err)) /* it was good a moment ago */
        verify_find(s, VERIFY_KIND_LOG_DAMAGED, s->log_dir, "the log cannot be read again: %s",
                    parley_err_text(err));
    s->log_last_id = reading->last_id;
    if (reading->last_id > s->log_report.seen_ceiling)
        verify_find(s, VERIFY_KIND_LOG_EVENT, s->log_dir, "id %llu is above the ceiling %llu",
                    (unsigned long long)reading->last_id, (unsigned long long)s->log_report.seen_ceiling);
}

void verify_log_events(struct verify_shard *s)
{
    uint32_t count = s->verify->folder.shard_count;
    struct reading reading = {.shard = s, .order = memory_alloc(count * sizeof *reading.order)};
    if (!reading.order) {
        (void)verify_failed(s->verify, -PARLEY_ERR_NOMEM);
        return;
    }
    for (uint32_t d = 0; d < count; d++) {
        reading.order[d] = d;
        s->bounds[d] = UINT64_MAX;
    }
    qsort_r(reading.order, count, sizeof *reading.order, by_offset, s);
    if (s->log && s->store)
        read_log(s, &reading);
    for (uint32_t d = 0; d < count; d++) /* of what was trimmed unseen, nothing is known */
        if (s->log_is_foreign || s->verify->shards[d].offsets[s->number] < s->log_report.start)
            s->bounds[d] = 0;
    memory_free(reading.order);
}
