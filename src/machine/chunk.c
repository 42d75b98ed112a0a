#include "src/machine/chunk.h"

#include <string.h>

#include "src/base/error.h"
#include "src/base/memory.h"
#include "src/machine/snowflake.h"

enum { ENTRY_MESSAGE = 1, FIRST_BYTES = 512 };

void message_of_event(struct message *m, const struct event *e)
{
    *m = (struct message){.id = e->id,
                          .seq = e->seq,
                          .time_ms = e->time_ms,
                          .created_at_ms = e->created_at_ms,
                          .sender = e->actor,
                          .device = e->device,
                          .content_type = e->content_type,
                          .client_id = e->client_id,
                          .body = e->body};
}

static size_t varint_len(uint64_t v)
{
    size_t n = 1;
    for (; v >= 0x80; v >>= 7)
        n++;
    return n;
}

static size_t span_len(struct span s)
{
    return varint_len(s.len) + s.len;
}

/* Without the length in front. */
static size_t entry_len(const struct message *m)
{
    return 1 + 8 + varint_len(m->seq) + varint_len(m->time_ms) + varint_len(m->created_at_ms) +
           span_len(m->sender) + span_len(m->device) + span_len(m->content_type) + span_len(m->client_id) +
           span_len(m->body);
}

int chunk_create(struct chunk **out)
{
    struct chunk *chunk = memory_zalloc(sizeof *chunk);
    if (!chunk)
        return -PARLEY_ERR_NOMEM;
    *out = chunk;
    return 0;
}

void chunk_destroy(struct chunk **chunk)
{
    if (!*chunk)
        return;
    memory_free((*chunk)->bytes);
    memory_free(*chunk);
    *chunk = NULL;
}

bool chunk_fits(const struct chunk *c, const struct message *m)
{
    if (c->count == 0)
        return true;
    size_t len = entry_len(m);
    return c->count < CHUNK_MESSAGES_MAX && c->len + varint_len(len) + len <= CHUNK_BYTES_MAX &&
           snowflake_month(c->first_id) == snowflake_month(m->id);
}

int chunk_reserve(struct chunk *c, const struct message *m)
{
    size_t len = entry_len(m), need = c->len + varint_len(len) + len,
           max = c->max ? c->max : (size_t)FIRST_BYTES;
    while (max < need)
        max *= 2;
    if (max == c->max)
        return 0;
    uint8_t *bytes = memory_realloc(c->bytes, max);
    if (!bytes)
        return -PARLEY_ERR_NOMEM;
    c->bytes = bytes;
    c->max = max;
    return 0;
}

static void put_entry(struct bytes_writer *w, const struct message *m)
{
    bytes_put_varint(w, entry_len(m));
    bytes_put_u8(w, ENTRY_MESSAGE);
    bytes_put_u64(w, m->id);
    bytes_put_varint(w, m->seq);
    bytes_put_varint(w, m->time_ms);
    bytes_put_varint(w, m->created_at_ms);
    bytes_put_span(w, m->sender);
    bytes_put_span(w, m->device);
    bytes_put_span(w, m->content_type);
    bytes_put_span(w, m->client_id);
    bytes_put_span(w, m->body);
}

static void count_in(struct chunk *c, const struct message *m)
{
    if (c->count == 0) {
        c->first_id = m->id;
        c->first_seq = m->seq;
    }
    c->last_id = m->id;
    c->count++;
}

int chunk_append(struct chunk *c, const struct message *m)
{
    parley_assert(c->count == 0 || (m->id > c->last_id && m->seq == c->first_seq + c->count));
    int rc = chunk_reserve(c, m);
    if (rc)
        return rc;
    struct bytes_writer w = bytes_writer_of(c->bytes + c->len, c->max - c->len);
    put_entry(&w, m);
    parley_assert(!w.failed);
    c->len += bytes_writer_len(&w);
    count_in(c, m);
    return 0;
}

struct span chunk_row(const struct chunk *c)
{
    return (struct span){c->bytes, c->len};
}

struct span chunk_unstored(const struct chunk *c)
{
    return c->len ? (struct span){c->bytes + c->stored_len, c->len - c->stored_len} : (struct span){0};
}

bool chunk_wants_rewrite(const struct chunk *c)
{
    return c->stored_count && c->stored_operands >= CHUNK_OPERANDS_MAX;
}

void chunk_stored(struct chunk *c, uint32_t count, size_t len, bool rewritten)
{
    parley_assert(count <= c->count && len <= c->len && count >= c->stored_count && len >= c->stored_len);
    c->stored_operands = rewritten || c->stored_count == 0 ? 0 : c->stored_operands + 1;
    c->stored_count = count;
    c->stored_len = len;
}

struct chunk_cursor chunk_begin(struct span row)
{
    return (struct chunk_cursor){.reader = bytes_reader_of(row.data, row.len)};
}

int chunk_next(struct chunk_cursor *cursor, struct message *m)
{
    if (bytes_reader_done(&cursor->reader))
        return -PARLEY_ERR_END;
    struct span entry = bytes_get_span(&cursor->reader);
    struct bytes_reader r = bytes_reader_of(entry.data, entry.len);
    if (bytes_get_u8(&r) != ENTRY_MESSAGE)
        r.failed = true;
    m->id = bytes_get_u64(&r);
    m->seq = bytes_get_varint(&r);
    m->time_ms = bytes_get_varint(&r);
    m->created_at_ms = bytes_get_varint(&r);
    m->sender = bytes_get_span(&r);
    m->device = bytes_get_span(&r);
    m->content_type = bytes_get_span(&r);
    m->client_id = bytes_get_span(&r);
    m->body = bytes_get_span(&r);
    if (cursor->reader.failed || !bytes_reader_done(&r) || m->id == 0 || m->seq == 0 ||
        m->sender.len > USER_ID_BYTES_MAX || m->device.len > DEVICE_ID_BYTES_MAX ||
        m->content_type.len > CONTENT_TYPE_BYTES_MAX || m->client_id.len > CLIENT_ID_BYTES_MAX ||
        m->body.len > BODY_BYTES_MAX) {
        cursor->reader.failed = true;
        *m = (struct message){0};
        return -PARLEY_ERR_CORRUPT;
    }
    return 0;
}

int chunk_next_id(struct chunk_cursor *cursor, uint64_t *id)
{
    if (bytes_reader_done(&cursor->reader))
        return -PARLEY_ERR_END;
    struct span entry = bytes_get_span(&cursor->reader);
    struct bytes_reader r = bytes_reader_of(entry.data, entry.len);
    bool message = bytes_get_u8(&r) == ENTRY_MESSAGE;
    *id = bytes_get_u64(&r);
    if (cursor->reader.failed || r.failed || !message || *id == 0) {
        cursor->reader.failed = true;
        return -PARLEY_ERR_CORRUPT;
    }
    return 0;
}

static int find(struct span row, uint64_t want, bool by_seq, struct message *out)
{
    struct chunk_cursor cursor = chunk_begin(row);
    struct message m;
    int rc;
    while ((rc = chunk_next(&cursor, &m)) == 0) {
        if ((by_seq ? m.seq : m.id) == want) {
            *out = m;
            return 0;
        }
    }
    return rc == -PARLEY_ERR_END ? -PARLEY_ERR_NOT_FOUND : rc;
}

int chunk_find_id(struct span row, uint64_t id, struct message *out)
{
    return find(row, id, false, out);
}

int chunk_find_seq(struct span row, uint64_t seq, struct message *out)
{
    return find(row, seq, true, out);
}

static int scan(struct chunk *c, struct span row)
{
    struct chunk_cursor cursor = chunk_begin(row);
    struct message m;
    int rc;
    while ((rc = chunk_next(&cursor, &m)) == 0) {
        if (c->count && (m.id <= c->last_id || m.seq != c->first_seq + c->count ||
                         snowflake_month(m.id) != snowflake_month(c->first_id)))
            return -PARLEY_ERR_CORRUPT;
        count_in(c, &m);
        if (c->count > CHUNK_MESSAGES_MAX)
            return -PARLEY_ERR_CORRUPT;
    }
    return rc == -PARLEY_ERR_END && c->count ? 0 : -PARLEY_ERR_CORRUPT;
}

int chunk_decode(struct span row, struct chunk **out)
{
    struct chunk *c = NULL;
    int rc = chunk_create(&c);
    if (rc)
        return rc;
    rc = scan(c, row);
    if (rc == 0 && !(c->bytes = memory_alloc(row.len)))
        rc = -PARLEY_ERR_NOMEM;
    if (rc) {
        chunk_destroy(&c);
        return rc;
    }
    memcpy(c->bytes, row.data, row.len);
    c->len = c->stored_len = c->max = row.len;
    c->stored_count = c->count;
    *out = c;
    return 0;
}
