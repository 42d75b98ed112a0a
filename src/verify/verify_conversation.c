/* A conversation as the store has it: its row, its messages, its dedup. */
#include <string.h>

#include "src/base/error.h"
#include "src/base/memory.h"
#include "src/verify/verify_internal.h"

enum { ID_BYTES = sizeof(struct id16), MONTHS_MAX = 256 };

struct look {
    struct verify_shard *shard;
    struct conversation *row; /* its stored state */
    uint32_t month;
    bool unread; /* some of its rows could not be read: what they lack is not told twice */
    bool filters_known, filters_wrong;
    struct conversation_sender
        senders[CONVERSATION_SENDERS_MAX]; /* of its messages, as its row should have them */
    uint32_t sender_count;
    /* What dedup knows: entries[from .. count), by rising id. */
    struct dedup_entry *entries;
    uint64_t count, from, at;
    /* The message before. */
    uint64_t seq, id, chunk_id;
};

static struct verify_where at_row(const struct look *look, const char *family, uint64_t number)
{
    return verify_at(look->shard, family, look->month, &look->row->id, number);
}

/* ---- dedup, newest row first */

static void check_entry(struct look *look, const struct dedup_entry *e, uint64_t last_id)
{
    const struct conversation *c = look->row;
    bool kind_known = e->kind == EVENT_CREATED || e->kind == EVENT_ADDED || e->kind == EVENT_REMOVED ||
                      e->kind == EVENT_ROLE || e->kind == EVENT_MESSAGE || e->kind == EVENT_FENCED;
    const char *wrong = NULL;
    if (e->id <= last_id)
        wrong = "its id is not above the one before";
    else if (e->id > c->applied.last_event_id)
        wrong = "it is of an event above the conversation's last";
    else if (!kind_known || (e->kind == EVENT_CREATED) != (e->id == c->created_id))
        wrong = "it is of no event that a command makes";
    else if ((e->kind == EVENT_MESSAGE) != (e->seq > 0))
        wrong = "it has a number without a message, or the other way round";
    if (wrong)
        verify_find(look->shard, VERIFY_KIND_DEDUP_WRONG, at_row(look, "dedup", e->id).text,
                    "%s: a retry would get a wrong answer", wrong);
    verify_note(look->shard, 0, e->id);
}

/* A retry asks the filter, then the row. */
static void check_known(struct look *look, const struct dedup_entry *e, const struct dedup_given *given)
{
    struct dedup_entry found;
    uint64_t need;
    int answer = dedup_find(&look->row->dedup, &e->fingerprint, given, 1, &found, &need);
    if (answer == DEDUP_FOUND && found.id == e->id)
        return;
    if (answer == DEDUP_FOUND)
        verify_find(look->shard, VERIFY_KIND_DEDUP_WRONG, at_row(look, "dedup", e->id).text,
                    "there is another entry of this command, of event %llu", (unsigned long long)found.id);
    else
        look->filters_wrong = true;
}

static int on_dedup_row(void *owner, struct span key, struct span row)
{
    struct look *look = owner;
    struct dedup_given given = {.row = row};
    uint64_t n = row.len / DEDUP_ENTRY_BYTES, last_id = 0;
    verify_report_looked(look->shard->verify->report);
    if (!look->from)
        return 1; /* older ones are forgotten */
    if (rows_chunk_first_id(key, &given.first_id) || row.len % DEDUP_ENTRY_BYTES ||
        n > DEDUP_ROW_ENTRIES_MAX || n == 0) {
        verify_find(look->shard, VERIFY_KIND_ROW, at_row(look, "dedup", given.first_id).text,
                    "the dedup row cannot be read");
        look->unread = true;
        return 1;
    }
    if (n > look->from) {
        verify_find(look->shard, VERIFY_KIND_DEDUP_WRONG, at_row(look, "dedup", given.first_id).text,
                    "there are more entries than the conversation's bounds say");
        look->unread = true;
        return 1;
    }
    struct bytes_reader r = bytes_reader_of(row.data, row.len);
    look->from -= n;
    for (uint64_t i = 0; i < n; i++) {
        struct dedup_entry *e = &look->entries[look->from + i];
        *e = dedup_get_entry(&r);
        check_entry(look, e, last_id);
        last_id = e->id;
        if (look->filters_known)
            check_known(look, e, &given);
    }
    if (look->entries[look->from].id != given.first_id || snowflake_month(given.first_id) != look->month)
        verify_find(look->shard, VERIFY_KIND_ROW_PLACE, at_row(look, "dedup", given.first_id).text,
                    "the row's key is not its first entry's, or of another month");
    return 0;
}

static void look_at_dedup(struct look *look)
{
    struct verify_shard *s = look->shard;
    uint32_t months[MONTHS_MAX];
    uint8_t key[ROWS_CHUNK_KEY_BYTES];
    look->entries = memory_alloc((look->count ? look->count : 1) * sizeof *look->entries);
    if (!look->entries) {
        (void)verify_failed(s->verify, -PARLEY_ERR_NOMEM);
        return;
    }
    look->from = look->count;
    size_t count = store_months(s->store, months, MONTHS_MAX);
    rows_chunk_key(&look->row->id, UINT64_MAX, key);
    for (size_t i = 0; i < count && look->from && !look->unread; i++) {
        struct store_key from = {STORE_DEDUP, look->month = months[i], {key, sizeof key}};
        int err = store_scan(s->store, from, ID_BYTES, on_dedup_row, look);
        look->unread = look->unread || err;
        if (verify_failed(s->verify, err))
            return;
    }
    look->month = 0;
    if (look->from && !look->unread) {
        verify_find(s, VERIFY_KIND_DEDUP_MISSING, at_row(look, "dedup", 0).text,
                    "%llu of %llu entries are missing: retries of these commands are not recognised",
                    (unsigned long long)look->from, (unsigned long long)look->count);
        look->unread = true;
    }
}

/* What leads to the rows can be made of them, when they are all there. */
static void tell_filters(struct look *look)
{
    struct verify_where where = at_row(look, "filters", 0);
    if (look->filters_wrong && !look->unread)
        verify_find(look->shard, VERIFY_KIND_FILTER, where.text,
                    "they do not lead to every entry of dedup, or cannot be read");
    else if (look->filters_wrong)
        verify_find(look->shard, VERIFY_KIND_FILTER_LOST, where.text,
                    "they cannot be read, and neither can the entries of dedup that they are made of");
}

/* The filters out of the rows that they stand for. */
static void mend_filters(struct look *look, uint64_t base)
{
    struct verify_shard *s = look->shard;
    struct dedup *d = &look->row->dedup;
    uint8_t bounds[32];
    struct bytes_writer w = bytes_writer_of(bounds, sizeof bounds);
    dedup_clear(d);
    bytes_put_varint(&w, base);
    bytes_put_varint(&w, base);
    struct bytes_reader r = bytes_reader_of(bounds, bytes_writer_len(&w));
    int err = dedup_get_bounds(d, &r);
    for (uint64_t i = 0; i < look->count && !err; i++)
        err = dedup_apply(d, &look->entries[i]);
    if (!verify_failed(s->verify, err) && verify_batch(s)) {
        rows_put_filters(s->batch, look->row);
        s->mended.filters++;
    }
    verify_batch_turn(s);
}

/* ---- messages, oldest first */

/* Which entry says what a retry of the message would be answered. */
static void check_message_entry(struct look *look, const struct message *m)
{
    struct verify_shard *s = look->shard;
    if (look->unread || look->from == look->count || m->id < look->entries[look->from].id)
        return;
    for (; look->at < look->count && look->entries[look->at].id < m->id; look->at++)
        if (look->entries[look->at].kind == EVENT_MESSAGE)
            verify_find(s, VERIFY_KIND_DEDUP_WRONG, at_row(look, "dedup", look->entries[look->at].id).text,
                        "there is no such message");
    if (look->at == look->count || look->entries[look->at].id != m->id) {
        verify_find(s, VERIFY_KIND_DEDUP_MISSING, at_row(look, "messages", m->id).text,
                    "message %llu has no dedup entry: a retry would be sent once more",
                    (unsigned long long)m->seq);
        return;
    }
    const struct dedup_entry *e = &look->entries[look->at++];
    struct hasher hasher = verify_hasher(s->verify);
    struct id16 fingerprint = machine_fingerprint(&hasher, m->sender, m->client_id);
    if (e->kind != EVENT_MESSAGE || e->seq != m->seq ||
        memcmp(&fingerprint, &e->fingerprint, sizeof fingerprint) != 0)
        verify_find(s, VERIFY_KIND_DEDUP_WRONG, at_row(look, "dedup", m->id).text,
                    "the entry is not that of message %llu", (unsigned long long)m->seq);
}

/* Who sent last comes first, each once; the last falls off. */
static void note_sender(struct look *look, const struct message *m)
{
    struct id16 user = hash_128(&look->shard->verify->folder.key, m->sender.data, m->sender.len);
    uint64_t tag = event_sender_tag(&user);
    uint32_t at = 0;
    while (at < look->sender_count && look->senders[at].tag != tag)
        at++;
    if (at == look->sender_count && at < CONVERSATION_SENDERS_MAX)
        look->sender_count++;
    else if (at == look->sender_count)
        at--;
    memmove(&look->senders[1], &look->senders[0], at * sizeof look->senders[0]);
    look->senders[0] = (struct conversation_sender){tag, m->seq};
}

/* The row may know fewer: rows of version 1 have none, and messages of that time are not counted in. */
static void check_senders(const struct look *look)
{
    const struct conversation *c = look->row;
    bool same = c->sender_count <= look->sender_count;
    for (uint32_t i = 0; same && i < c->sender_count; i++)
        same = c->senders[i].tag == look->senders[i].tag && c->senders[i].seq == look->senders[i].seq;
    if (!same)
        verify_find(
            look->shard, VERIFY_KIND_SENDERS, at_row(look, "conversations", 0).text,
            "the row names other last senders than its messages have: counts of unread messages are wrong "
            "until these send again");
}

static void check_message(struct look *look, const struct message *m)
{
    struct verify_shard *s = look->shard;
    if (m->seq != look->seq + 1)
        verify_find(s, VERIFY_KIND_MESSAGE_SEQ, at_row(look, "messages", m->id).text,
                    "message %llu follows message %llu", (unsigned long long)m->seq,
                    (unsigned long long)look->seq);
    if (m->id <= look->id || snowflake_shard(m->id) != s->number)
        verify_find(s, VERIFY_KIND_MESSAGE_ID, at_row(look, "messages", m->id).text,
                    "the id of message %llu is not above the one before, or of another shard",
                    (unsigned long long)m->seq);
    if (snowflake_month(m->id) != look->month)
        verify_find(s, VERIFY_KIND_ROW_PLACE, at_row(look, "messages", m->id).text,
                    "message %llu lies in another month than its id's", (unsigned long long)m->seq);
    check_message_entry(look, m);
    note_sender(look, m);
    verify_note(s, 0, m->id);
    look->seq = m->seq;
    look->id = m->id;
}

static int on_chunk(void *owner, struct span key, struct span row)
{
    struct look *look = owner;
    struct chunk_cursor cursor = chunk_begin(row);
    struct message m = {0};
    uint64_t first_id = 0;
    uint32_t count = 0;
    int err = rows_chunk_first_id(key, &first_id);
    verify_report_looked(look->shard->verify->report);
    look->chunk_id = first_id;
    while (!err && (err = chunk_next(&cursor, &m)) == 0) {
        if (count++ == 0 && m.id != first_id)
            verify_find(look->shard, VERIFY_KIND_ROW_PLACE, at_row(look, "messages", first_id).text,
                        "the row's key is not its first message's");
        check_message(look, &m);
    }
    if (err != -PARLEY_ERR_END || count == 0 || count > CHUNK_MESSAGES_MAX) {
        verify_find(look->shard, VERIFY_KIND_ROW, at_row(look, "messages", first_id).text,
                    "the chunk cannot be read behind message %llu", (unsigned long long)look->seq);
        look->unread = true;
    }
    return 0;
}

static void look_at_messages(struct look *look)
{
    struct verify_shard *s = look->shard;
    const struct conversation *c = look->row;
    uint32_t months[MONTHS_MAX];
    uint8_t key[ROWS_CHUNK_KEY_BYTES];
    bool unread = false;
    size_t count = store_months(s->store, months, MONTHS_MAX);
    rows_chunk_key(&c->id, 0, key); /* the greatest */
    look->at = look->from;
    for (size_t i = count; i > 0; i--) {
        struct store_key from = {STORE_MESSAGES, look->month = months[i - 1], {key, sizeof key}};
        int err = store_scan_back(s->store, from, ID_BYTES, on_chunk, look);
        unread = unread || err;
        if (verify_failed(s->verify, err))
            return;
    }
    look->month = 0;
    if (unread || look->unread)
        return;
    for (; look->at < look->count; look->at++)
        if (look->entries[look->at].kind == EVENT_MESSAGE)
            verify_find(s, VERIFY_KIND_DEDUP_WRONG, at_row(look, "dedup", look->entries[look->at].id).text,
                        "there is no such message");
    if (look->seq != c->applied.last_seq || look->id != c->applied.last_message_id ||
        look->chunk_id != c->open_chunk_id)
        verify_find(s, VERIFY_KIND_CONVERSATION, at_row(look, "conversations", 0).text,
                    "the row ends with message %llu (%llu), its messages with %llu (%llu)",
                    (unsigned long long)c->applied.last_seq, (unsigned long long)c->applied.last_message_id,
                    (unsigned long long)look->seq, (unsigned long long)look->id);
    check_senders(look);
}

/* ---- the conversation */

static void look_at(struct look *look)
{
    struct verify_shard *s = look->shard;
    struct conversation *c = look->row;
    uint64_t base = c->dedup.base;
    look->count = c->dedup.applied - base;
    int err = rows_load_filters(s->store, c, STORE_ALL);
    if (verify_failed(s->verify, err))
        return;
    look->filters_known = !err;
    look->filters_wrong = err;
    look_at_dedup(look);
    tell_filters(look);
    if (!s->verify->mending && !s->verify->error)
        look_at_messages(look);
    else if (look->filters_wrong && !look->unread && !s->verify->error)
        mend_filters(look, base);
    memory_free(look->entries);
}

/* As the log's end leaves it; NULL: it cannot be said. */
static const struct conversation *state_now(struct verify_shard *s, const struct conversation *row)
{
    struct machine_key key = {.kind = OBJECT_CONVERSATION, .id = row->id};
    const struct object *node = objects_find(&s->now, &key);
    if (!node)
        return row;
    return node->load_error ? NULL : node->is.conversation;
}

static int on_conversation(void *owner, struct span key, struct span value)
{
    struct verify_shard *s = owner;
    struct id16 id = {{0}};
    memcpy(id.bytes, key.data, key.len < ID_BYTES ? key.len : ID_BYTES);
    struct verify_where where = verify_at(s, "conversations", 0, &id, 0);
    struct look look = {.shard = s};
    verify_report_looked(s->verify->report);
    s->counts.conversations++;
    int err =
        key.len == ID_BYTES ? conversation_decode(&id, &s->now.dedup, value, &look.row) : -PARLEY_ERR_CORRUPT;
    if (verify_failed(s->verify, err))
        return err;
    if (err) {
        verify_find(s, VERIFY_KIND_ROW, where.text, "the conversation's row cannot be read");
        return 0;
    }
    if (verify_owner(s->verify, &id) != s)
        verify_find(s, VERIFY_KIND_ROW_PLACE, where.text, "the conversation belongs to another shard");
    verify_note(s, look.row->position, look.row->applied.last_event_id);
    look_at(&look);
    const struct conversation *now = state_now(s, look.row);
    if (now && !s->verify->error) {
        s->counts.messages += now->applied.last_seq;
        verify_pages(s, now);
    }
    conversation_destroy(&look.row);
    return s->verify->error;
}

/* Those that only the log has yet. */
static void look_at_new(struct verify_shard *s)
{
    for (uint32_t i = 0; i < s->now.slot_count && !s->verify->error; i++) {
        const struct object *node = s->now.slots[i];
        uint8_t *row = NULL;
        size_t len;
        if (!node || node->key.kind != OBJECT_CONVERSATION || node->load_error || !node->is.any ||
            !node->is.conversation->applied.exists)
            continue;
        struct store_key at = {STORE_CONVERSATIONS, 0, {node->key.id.bytes, ID_BYTES}};
        int err = store_get(s->store, at, STORE_ALL, &row, &len);
        memory_free(row);
        if (err != -PARLEY_ERR_NOT_FOUND)
            continue;
        s->counts.conversations++;
        s->counts.messages += node->is.conversation->applied.last_seq;
        verify_pages(s, node->is.conversation);
    }
}

void verify_conversations(struct verify_shard *s)
{
    struct store_key from = {STORE_CONVERSATIONS, 0, {0}};
    (void)verify_failed(s->verify, store_scan(s->store, from, 0, on_conversation, s));
    look_at_new(s);
}
