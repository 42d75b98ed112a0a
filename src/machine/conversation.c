#include "src/machine/conversation.h"

#include <string.h>

#include "src/base/error.h"
#include "src/base/memory.h"
#include "src/base/utf8.h"
#include "src/machine/member.h"

enum { CONVERSATION_VERSION = 2, VERSION_WITHOUT_SENDERS = 1 };

int conversation_create(const struct id16 *id, const struct dedup_options *options, struct conversation **out)
{
    struct conversation *c = memory_zalloc(sizeof *c);
    if (!c)
        return -PARLEY_ERR_NOMEM;
    c->id = *id;
    dedup_init(&c->dedup, options);
    *out = c;
    return 0;
}

void conversation_destroy(struct conversation **conversation)
{
    struct conversation *c = *conversation;
    if (!c)
        return;
    for (uint32_t i = 0; i < c->chunk_count; i++)
        chunk_destroy(&c->chunks[i]);
    memory_free(c->chunks);
    dedup_clear(&c->dedup);
    memory_free(c);
    *conversation = NULL;
}

struct span conversation_title(const struct conversation *c)
{
    return (struct span){c->title, c->title_len};
}

struct span conversation_creator(const struct conversation *c)
{
    return (struct span){c->creator, c->creator_len};
}

bool conversation_under_way(const struct conversation *c)
{
    return c->ahead_position > c->position;
}

uint64_t conversation_basis(const struct conversation *c)
{
    return conversation_under_way(c) ? c->ahead.last_event_id : 0;
}

static void put_counts(struct bytes_writer *w, const struct conversation_counts *n)
{
    bytes_put_varint(w, n->members);
    bytes_put_varint(w, n->entries);
    bytes_put_varint(w, n->owners);
    bytes_put_varint(w, n->page_count);
    bytes_put_varint(w, n->last_seq);
    bytes_put_u64(w, n->last_message_id);
    bytes_put_u64(w, n->last_event_id);
}

static struct conversation_counts get_counts(struct bytes_reader *r)
{
    struct conversation_counts n = {.exists = true};
    uint64_t members = bytes_get_varint(r), entries = bytes_get_varint(r), owners = bytes_get_varint(r);
    uint64_t pages = bytes_get_varint(r);
    if (owners > members || members > entries || entries > UINT32_MAX || pages < 1 || pages > PAGE_COUNT_MAX)
        r->failed = true;
    n.members = (uint32_t)members;
    n.entries = (uint32_t)entries;
    n.owners = (uint32_t)owners;
    n.page_count = (uint32_t)pages;
    n.last_seq = bytes_get_varint(r);
    n.last_message_id = bytes_get_u64(r);
    n.last_event_id = bytes_get_u64(r);
    if ((n.last_seq == 0) != (n.last_message_id == 0) || n.last_message_id > n.last_event_id)
        r->failed = true;
    return n;
}

void conversation_encode(const struct conversation *c, struct bytes_writer *w)
{
    parley_assert(c->applied.exists);
    bytes_put_u8(w, CONVERSATION_VERSION);
    bytes_put_u64(w, c->position);
    bytes_put_u8(w, c->type);
    bytes_put_span(w, conversation_title(c));
    bytes_put_span(w, conversation_creator(c));
    bytes_put_u64(w, c->created_id);
    bytes_put_varint(w, c->created_ms);
    bytes_put_u64(w, c->create_hash);
    put_counts(w, &c->applied);
    bytes_put_u64(w, c->open_chunk_id);
    dedup_put_bounds(&c->dedup, w);
    bytes_put_varint(w, c->sender_count);
    for (uint32_t i = 0; i < c->sender_count; i++) {
        bytes_put_u64(w, c->senders[i].tag);
        bytes_put_varint(w, c->senders[i].seq);
    }
}

static void set_texts(struct conversation *c, struct span title, struct span creator)
{
    if (title.len)
        memcpy(c->title, title.data, title.len);
    c->title_len = (uint16_t)title.len;
    if (creator.len)
        memcpy(c->creator, creator.data, creator.len);
    c->creator_len = (uint8_t)creator.len;
}

/* Newest first, each once. */
static void get_senders(struct conversation *c, struct bytes_reader *r)
{
    uint64_t count = bytes_get_varint(r), above = c->applied.last_seq + 1;
    if (count > CONVERSATION_SENDERS_MAX)
        r->failed = true;
    for (; !r->failed && c->sender_count < count; c->sender_count++) {
        struct conversation_sender *s = &c->senders[c->sender_count];
        s->tag = bytes_get_u64(r);
        s->seq = bytes_get_varint(r);
        if (s->tag == 0 || s->seq == 0 || s->seq >= above)
            r->failed = true;
        above = s->seq;
    }
}

static int decode_fields(struct conversation *c, struct bytes_reader *r)
{
    unsigned version = bytes_get_u8(r);
    if (version != CONVERSATION_VERSION && version != VERSION_WITHOUT_SENDERS)
        r->failed = true;
    c->position = bytes_get_u64(r);
    c->type = bytes_get_u8(r);
    struct span title = bytes_get_span(r), creator = bytes_get_span(r);
    if (r->failed || c->type < CONVERSATION_DIRECT || c->type > CONVERSATION_CHANNEL ||
        title.len > TITLE_BYTES_MAX || creator.len < 1 || creator.len > USER_ID_BYTES_MAX ||
        !utf8_valid(title) || !utf8_valid(creator))
        return -PARLEY_ERR_CORRUPT;
    set_texts(c, title, creator);
    c->created_id = bytes_get_u64(r);
    c->created_ms = bytes_get_varint(r);
    c->create_hash = bytes_get_u64(r);
    c->applied = c->ahead = get_counts(r);
    c->open_chunk_id = bytes_get_u64(r);
    int rc = dedup_get_bounds(&c->dedup, r);
    if (version != VERSION_WITHOUT_SENDERS)
        get_senders(c, r);
    if (rc == 0 &&
        (!bytes_reader_done(r) || c->created_id == 0 || c->open_chunk_id > c->applied.last_message_id))
        rc = -PARLEY_ERR_CORRUPT;
    return rc;
}

int conversation_decode(const struct id16 *id, const struct dedup_options *options, struct span row,
                        struct conversation **out)
{
    struct conversation *c = NULL;
    int rc = conversation_create(id, options, &c);
    if (rc)
        return rc;
    struct bytes_reader r = bytes_reader_of(row.data, row.len);
    rc = decode_fields(c, &r);
    if (rc)
        conversation_destroy(&c);
    else
        *out = c;
    return rc;
}

static int reserve_chunks(struct conversation *c)
{
    if (c->chunk_count < c->chunk_max)
        return 0;
    uint32_t max = c->chunk_max ? 2 * c->chunk_max : 2;
    struct chunk **chunks = memory_realloc(c->chunks, max * sizeof(*chunks));
    if (!chunks)
        return -PARLEY_ERR_NOMEM;
    c->chunks = chunks;
    c->chunk_max = max;
    return 0;
}

int conversation_give_tail(struct conversation *c, struct span row)
{
    parley_assert(c->chunk_count == 0);
    struct chunk *chunk = NULL;
    int rc = reserve_chunks(c);
    if (rc == 0)
        rc = chunk_decode(row, &chunk);
    if (rc)
        return rc;
    if (chunk->first_id != c->open_chunk_id || chunk->last_id != c->applied.last_message_id ||
        chunk->first_seq + chunk->count - 1 != c->applied.last_seq) {
        chunk_destroy(&chunk);
        return -PARLEY_ERR_CORRUPT;
    }
    c->chunks[c->chunk_count++] = chunk;
    return 0;
}

uint64_t conversation_kept_from(const struct conversation *c)
{
    if (c->chunk_count == 0)
        return c->applied.last_seq ? UINT64_MAX : 0;
    return c->chunks[0]->first_seq == 1 ? 0 : c->chunks[0]->first_id;
}

size_t conversation_bytes(const struct conversation *c)
{
    size_t bytes = sizeof *c + c->chunk_max * sizeof *c->chunks + dedup_bytes(&c->dedup);
    for (uint32_t i = 0; i < c->chunk_count; i++)
        bytes += sizeof *c->chunks[i] + c->chunks[i]->max;
    return bytes;
}

void conversation_forget_stored(struct conversation *c, uint32_t keep)
{
    uint32_t gone = 0;
    while (gone + keep < c->chunk_count && c->chunks[gone]->stored_count == c->chunks[gone]->count)
        chunk_destroy(&c->chunks[gone++]);
    if (gone)
        memmove(c->chunks, c->chunks + gone, (c->chunk_count - gone) * sizeof(*c->chunks));
    c->chunk_count -= gone;
}

static uint32_t owners_in(const struct event *e)
{
    struct bytes_reader r = bytes_reader_of(e->members.data, e->members.len);
    uint32_t owners = 0;
    for (uint32_t i = 0; i < e->member_count; i++)
        owners += member_get(&r).role == ROLE_OWNER;
    return owners;
}

static void fold(struct conversation_counts *n, const struct event *e)
{
    n->last_event_id = e->id;
    switch (e->kind) {
    case EVENT_CREATED:
        n->exists = true;
        n->members = n->entries = e->member_count;
        n->owners = owners_in(e);
        n->page_count = e->page_count;
        break;
    case EVENT_ADDED:
        n->members++;
        n->entries += e->former == 0;
        n->owners += e->role == ROLE_OWNER;
        break;
    case EVENT_REMOVED:
        n->members--;
        n->owners -= e->former == ROLE_OWNER;
        break;
    case EVENT_ROLE:
        n->owners += e->role == ROLE_OWNER;
        n->owners -= e->former == ROLE_OWNER;
        break;
    case EVENT_SPLIT:
        n->page_count = e->page_count;
        break;
    case EVENT_MESSAGE:
        n->last_seq = e->seq;
        n->last_message_id = e->id;
        break;
    case EVENT_TICK:
    case EVENT_PROFILE:
    case EVENT_FENCED:
    case EVENT_RECEIPT:
    case EVENT_KIND_END:
        break;
    }
}

static void set_identity(struct conversation *c, const struct event *e)
{
    c->type = (uint8_t)e->type;
    set_texts(c, e->title, e->actor);
    c->created_id = e->id;
    c->created_ms = e->time_ms;
    c->create_hash = e->payload_hash;
}

static struct dedup_entry entry_of(const struct event *e)
{
    return (struct dedup_entry){.fingerprint = e->fingerprint,
                                .payload_hash = e->payload_hash,
                                .id = e->id,
                                .seq = e->seq,
                                .kind = (uint8_t)e->kind};
}

/* Moves him to the front; the last falls off. */
static void note_sender(struct conversation *c, uint64_t tag, uint64_t seq)
{
    uint32_t at = 0;
    if (tag == 0) /* an event of version 1 */
        return;
    while (at < c->sender_count && c->senders[at].tag != tag)
        at++;
    if (at == c->sender_count && c->sender_count < CONVERSATION_SENDERS_MAX)
        c->sender_count++;
    else if (at == c->sender_count)
        at--;
    memmove(&c->senders[1], &c->senders[0], at * sizeof c->senders[0]);
    c->senders[0] = (struct conversation_sender){tag, seq};
}

uint64_t conversation_sent_by(const struct conversation *c, const struct id16 *user)
{
    uint64_t tag = event_sender_tag(user);
    for (uint32_t i = 0; i < c->sender_count; i++)
        if (c->senders[i].tag == tag)
            return c->senders[i].seq;
    return 0;
}

int conversation_reserve(struct conversation *c)
{
    return dedup_reserve(&c->dedup);
}

void conversation_decided(struct conversation *c, const struct event *e, uint64_t position)
{
    parley_assert(position > c->position && position > c->ahead_position);
    if (e->kind == EVENT_CREATED)
        set_identity(c, e);
    if (e->client_id.len) {
        struct dedup_entry entry = entry_of(e);
        dedup_add(&c->dedup, &entry);
    }
    fold(&c->ahead, e);
    c->ahead_position = position;
}

/* The chunk that takes the message, with room for it; a new one is in *made and not in the list yet. */
static int chunk_for(struct conversation *c, const struct message *m, struct chunk **made, struct chunk **out)
{
    struct chunk *last = c->chunk_count ? c->chunks[c->chunk_count - 1] : NULL;
    if (last && chunk_fits(last, m)) {
        *out = last;
        return chunk_reserve(last, m);
    }
    int rc = reserve_chunks(c);
    if (rc == 0)
        rc = chunk_create(made);
    if (rc == 0 && (rc = chunk_reserve(*made, m)) != 0)
        chunk_destroy(made);
    *out = *made;
    return rc;
}

/* What does not is damage: of the log, or of the row that the object came from. */
static bool follows(const struct conversation_counts *n, const struct event *e)
{
    if (e->kind == EVENT_CREATED)
        return !n->exists;
    return n->exists && e->id > n->last_event_id && (e->kind != EVENT_MESSAGE || e->seq == n->last_seq + 1);
}

int conversation_apply(struct conversation *c, const struct event *e, uint64_t position)
{
    if (c->position >= position)
        return 0;
    if (!follows(&c->applied, e))
        return -PARLEY_ERR_CORRUPT;
    struct message m;
    struct chunk *made = NULL, *chunk = NULL;
    int rc = 0;
    if (e->kind == EVENT_MESSAGE) {
        message_of_event(&m, e);
        rc = chunk_for(c, &m, &made, &chunk);
    }
    if (rc == 0 && e->client_id.len) {
        struct dedup_entry entry = entry_of(e);
        rc = dedup_apply(&c->dedup, &entry);
    }
    if (rc) {
        chunk_destroy(&made);
        return rc;
    }
    if (made) {
        c->chunks[c->chunk_count++] = made;
        c->open_chunk_id = m.id;
    }
    if (chunk) {
        rc = chunk_append(chunk, &m);
        parley_assert(rc == 0);
        note_sender(c, e->sender_tag, e->seq);
    }
    if (e->kind == EVENT_CREATED)
        set_identity(c, e);
    fold(&c->applied, e);
    c->position = position;
    if (c->ahead_position <= position)
        c->ahead = c->applied;
    return 0;
}
