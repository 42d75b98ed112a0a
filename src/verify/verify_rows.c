/* Rows that are of no conversation: meta, users, and those whose conversation is gone. */
#include <string.h>

#include "src/base/error.h"
#include "src/base/memory.h"
#include "src/verify/verify_internal.h"

enum { ID_BYTES = sizeof(struct id16) };

static int on_meta(void *owner, struct span key, struct span value)
{
    struct verify_shard *s = owner;
    static const struct {
        const char *name;
        size_t rest;
    } known[] = {{"position", 0}, {"derived", sizeof(uint32_t)}, {"large", ID_BYTES}};
    (void)value;
    for (size_t i = 0; i < PARLEY_ARRAY_COUNT(known); i++) {
        size_t len = strlen(known[i].name);
        if (key.len == len + known[i].rest && memcmp(key.data, known[i].name, len) == 0)
            return 0;
    }
    verify_find(s, VERIFY_KIND_UNKNOWN_ROW, verify_at(s, "meta", 0, NULL, 0).text,
                "a row with a key of %zu bytes is not known", key.len);
    return 0;
}

void verify_meta(struct verify_shard *s)
{
    struct verify *v = s->verify;
    for (uint32_t source = 0; source < v->folder.shard_count; source++)
        s->offsets[source] = 1;
    if (!s->store)
        return;
    int err = rows_load_position(s->store, STORE_ALL, &s->position);
    if (s->position.redo >= VERIFY_POSITION_MAX || s->position.max_position >= VERIFY_POSITION_MAX)
        err = -PARLEY_ERR_CORRUPT;
    if (err && !verify_failed(v, err)) {
        /* A replay from further back than needed changes nothing. */
        s->position = (struct rows_position){.redo = s->log_report.start};
        s->position_unreadable = true;
        verify_find(s, VERIFY_KIND_POSITION, verify_at(s, "meta, position", 0, NULL, 0).text,
                    "the row cannot be read");
    }
    s->counts.redo = s->position.redo;
    for (uint32_t source = 0; source < v->folder.shard_count; source++) {
        err = rows_load_offset(s->store, source, STORE_ALL, &s->offsets[source]);
        if (s->offsets[source] >= VERIFY_POSITION_MAX)
            err = -PARLEY_ERR_CORRUPT;
        if (!err || verify_failed(v, err))
            continue;
        s->offsets[source] = 0;
        verify_find(s, VERIFY_KIND_OFFSET, verify_at(s, "meta, derived", 0, NULL, source).text,
                    "the row cannot be read");
    }
    struct store_key from = {STORE_META, 0, {0}};
    (void)verify_failed(v, store_scan(s->store, from, 0, on_meta, s));
}

/* After all rows were read. */
void verify_positions(struct verify_shard *s)
{
    struct verify_where where = verify_at(s, "meta, position", 0, NULL, 0);
    if (s->row_position >= s->log_report.end && !s->begins_again) {
        verify_find(s, VERIFY_KIND_LOG_SHORT, where.text,
                    "a row has events up to position %llu, but the log ends at %llu",
                    (unsigned long long)s->row_position, (unsigned long long)s->log_report.end);
        s->begins_again = true;
    } else if (s->row_position > s->position.max_position) {
        verify_find(s, VERIFY_KIND_POSITION, where.text,
                    "it says %llu, but a row has events up to position %llu",
                    (unsigned long long)s->position.max_position, (unsigned long long)s->row_position);
    }
}

/* ---- users */

static int on_user(void *owner, struct span key, struct span row)
{
    struct verify_shard *s = owner;
    struct id16 hash = {{0}};
    memcpy(hash.bytes, key.data, key.len < ID_BYTES ? key.len : ID_BYTES);
    struct verify_where where = verify_at(s, "users", 0, &hash, 0);
    struct user *user = NULL;
    verify_report_looked(s->verify->report);
    s->counts.users++;
    int err = key.len == ID_BYTES ? user_decode(&hash, row, &user) : -PARLEY_ERR_CORRUPT;
    if (verify_failed(s->verify, err))
        return err;
    if (err)
        verify_find(s, VERIFY_KIND_ROW, where.text, "the user's row cannot be read");
    else if (verify_owner(s->verify, &hash) != s)
        verify_find(s, VERIFY_KIND_ROW_PLACE, where.text, "the user belongs to another shard");
    else
        verify_note(s, user->position, user->applied.command_count ? user->applied.commands[0].id : 0);
    user_destroy(&user);
    return 0;
}

void verify_users(struct verify_shard *s)
{
    struct store_key from = {STORE_USERS, 0, {0}};
    (void)verify_failed(s->verify, store_scan(s->store, from, 0, on_user, s));
}

/* ---- rows of nobody: from each conversation that has any, on to the next */

struct skipping {
    struct verify_shard *shard;
    enum store_family is;
    const char *name;
    uint32_t month;
    size_t key_bytes;
    struct id16 id;
    uint8_t next[ID_BYTES + 1];
    size_t next_len; /* 0: at the end */
};

/* What a row of a conversation that cannot be read says of positions and ids: they are not to be given again. */
static int note_row(void *owner, struct span key, struct span row)
{
    const struct skipping *k = owner;
    struct verify_shard *s = k->shard;
    if (k->is == STORE_MEMBERS) {
        struct page *page = NULL;
        if (page_decode(&k->id, 0, row, &page) == 0)
            verify_note(s, page->position, 0);
        page_destroy(&page);
    } else if (k->is == STORE_MESSAGES) {
        struct chunk_cursor cursor = chunk_begin(row);
        struct message m;
        while (chunk_next(&cursor, &m) == 0)
            verify_note(s, 0, m.id);
    } else if (k->is == STORE_DEDUP) {
        struct bytes_reader r = bytes_reader_of(row.data, row.len);
        for (size_t i = 0; i < row.len / DEDUP_ENTRY_BYTES; i++)
            verify_note(s, 0, dedup_get_entry(&r).id);
    }
    (void)key;
    return 0;
}

/* Its row, and why it cannot be read. */
static int look_up(struct verify_shard *s, const struct id16 *id)
{
    struct conversation *c = NULL;
    uint8_t *value = NULL;
    size_t len;
    int err = store_get(s->store, (struct store_key){STORE_CONVERSATIONS, 0, {id->bytes, ID_BYTES}},
                        STORE_ALL, &value, &len);
    if (!err)
        err = conversation_decode(id, &s->now.dedup, (struct span){value, len}, &c);
    conversation_destroy(&c);
    memory_free(value);
    return err;
}

static int on_first_row(void *owner, struct span key, struct span row)
{
    struct skipping *k = owner;
    struct verify_shard *s = k->shard;
    (void)row;
    verify_report_looked(s->verify->report);
    k->id = (struct id16){{0}};
    memcpy(k->id.bytes, key.data, key.len < ID_BYTES ? key.len : ID_BYTES);
    memcpy(k->next, k->id.bytes, ID_BYTES);
    memset(k->next + ID_BYTES, 0xff, 1);
    k->next_len = sizeof k->next;
    struct verify_where where = verify_at(s, k->name, k->month, &k->id, 0);
    if (key.len != k->key_bytes) {
        verify_find(s, VERIFY_KIND_ROW_PLACE, where.text, "a key has %zu bytes and should have %zu", key.len,
                    k->key_bytes);
        return 1;
    }
    int err = look_up(s, &k->id);
    if (err == -PARLEY_ERR_NOT_FOUND)
        verify_find(s, VERIFY_KIND_ORPHAN, where.text,
                    "there are rows of a conversation whose own row is missing: nobody can read them");
    if (!verify_failed(s->verify, err) && err) {
        struct store_key from = {k->is, k->month, {k->id.bytes, ID_BYTES}};
        (void)verify_failed(s->verify, store_scan(s->store, from, ID_BYTES, note_row, k));
    }
    return 1;
}

static void skip_through(struct verify_shard *s, enum store_family family, const char *name, uint32_t month,
                         size_t key_bytes)
{
    struct skipping k = {.shard = s, .is = family, .name = name, .month = month, .key_bytes = key_bytes};
    int err = 0;
    do {
        struct store_key from = {family, month, {k.next, k.next_len}};
        k.next_len = 0;
        err = store_scan(s->store, from, 0, on_first_row, &k);
    } while (!err && k.next_len && !s->verify->error);
    (void)verify_failed(s->verify, err);
}

void verify_orphans(struct verify_shard *s)
{
    enum { MONTHS_MAX = 256 };
    uint32_t months[MONTHS_MAX];
    size_t count = store_months(s->store, months, MONTHS_MAX);
    for (size_t i = 0; i < count; i++) {
        skip_through(s, STORE_MESSAGES, "messages", months[i], ROWS_CHUNK_KEY_BYTES);
        skip_through(s, STORE_DEDUP, "dedup", months[i], ROWS_CHUNK_KEY_BYTES);
    }
    skip_through(s, STORE_MEMBERS, "members", 0, ROWS_PAGE_KEY_BYTES);
    skip_through(s, STORE_FILTERS, "filters", 0, ROWS_CHUNK_KEY_BYTES);
}
