#include "src/shard/rows.h"

#include <string.h>

#include "src/base/error.h"
#include "src/base/memory.h"

enum {
    ID_BYTES = 16,
    POSITION_VERSION = 1,
    MEMBERSHIP_VERSION = 1,
    MEMBERSHIP_BYTES = 9,
    OFFSET_NAME_BYTES = 7,
    OFFSET_KEY_BYTES = OFFSET_NAME_BYTES + 4,
    LARGE_NAME_BYTES = 5,
    LARGE_KEY_BYTES = LARGE_NAME_BYTES + ID_BYTES,
    LARGE_VERSION = 1,
    POSITION_BYTES = 17,
    KEPT_CHUNKS = 4,         /* so that the last 50 messages, and more, are read from memory */
    KEPT_DEDUP_ENTRIES = 64, /* retries come soon */
    /* Entries that take some milliseconds; more take a thread that may block, cached or not. */
    FILTERS_AT_ONCE_MAX = 65536,
    ROW_STACK_BYTES = 4096
};
_Static_assert((int)ROW_STACK_BYTES >= (int)DEDUP_ROW_BYTES_MAX, "a dedup row fits");

static const struct span position_key = {(const uint8_t *)"position", 8};

static void put_be(uint8_t *to, uint64_t v, size_t len)
{
    for (size_t i = 0; i < len; i++)
        to[i] = (uint8_t)(v >> 8 * (len - 1 - i));
}

static void key_of(const struct id16 *id, uint64_t suffix, uint8_t key[ROWS_CHUNK_KEY_BYTES])
{
    memcpy(key, id->bytes, ID_BYTES);
    put_be(key + ID_BYTES, suffix, sizeof suffix);
}

int rows_chunk_first_id(struct span key, uint64_t *out)
{
    uint64_t inverted = 0;
    if (key.len != ROWS_CHUNK_KEY_BYTES)
        return -PARLEY_ERR_CORRUPT;
    for (size_t i = ID_BYTES; i < key.len; i++)
        inverted = inverted << 8 | key.data[i];
    *out = ~inverted;
    return 0;
}

void rows_chunk_key(const struct id16 *id, uint64_t first_id, uint8_t key[ROWS_CHUNK_KEY_BYTES])
{
    key_of(id, ~first_id, key);
}

static struct store_key at(enum store_family family, uint32_t month, const uint8_t *key, size_t len)
{
    return (struct store_key){family, month, {key, len}};
}

static struct store_key page_at(const struct machine_key *key, uint8_t room[ROWS_PAGE_KEY_BYTES])
{
    memcpy(room, key->id.bytes, ID_BYTES);
    put_be(room + ID_BYTES, key->page, sizeof key->page);
    return at(STORE_MEMBERS, 0, room, ROWS_PAGE_KEY_BYTES);
}

/* -- loading */

/* NOT_FOUND is no error here: then *row is NULL. */
static int get(struct store *store, struct store_key key, enum store_tier tier, uint8_t **row, size_t *len)
{
    *row = NULL;
    *len = 0;
    int err = store_get(store, key, tier, row, len);
    return err == -PARLEY_ERR_NOT_FOUND ? 0 : err;
}

int rows_load_filters(struct store *store, struct conversation *c, enum store_tier tier)
{
    struct dedup *d = &c->dedup;
    int err = tier == STORE_CACHE && d->applied - d->base > FILTERS_AT_ONCE_MAX ? -PARLEY_ERR_AGAIN : 0;
    while (!err && !dedup_loaded(d)) {
        uint8_t key[ROWS_CHUNK_KEY_BYTES], *row;
        size_t len;
        uint64_t segment = d->end / DEDUP_SEGMENT_ORDINALS;
        key_of(&c->id, segment, key);
        err = get(store, at(STORE_FILTERS, 0, key, sizeof key), tier, &row, &len);
        if (!err)
            err = dedup_load_segment(d, segment, (struct span){row, len});
        memory_free(row);
    }
    return err;
}

/* Later messages continue the newest chunk, and readers want the newest messages. */
static int load_tail(struct store *store, struct conversation *c, enum store_tier tier)
{
    uint8_t key[ROWS_CHUNK_KEY_BYTES], *row;
    size_t len;
    if (!c->open_chunk_id)
        return 0;
    rows_chunk_key(&c->id, c->open_chunk_id, key);
    int err =
        get(store, at(STORE_MESSAGES, snowflake_month(c->open_chunk_id), key, sizeof key), tier, &row, &len);
    if (!err)
        err = row ? conversation_give_tail(c, (struct span){row, len}) : -PARLEY_ERR_CORRUPT;
    memory_free(row);
    return err;
}

static int load_conversation(struct store *store, const struct id16 *id, enum store_tier tier,
                             const struct dedup_options *dedup, void **out)
{
    struct conversation *c = NULL;
    uint8_t *row;
    size_t len;
    int err = get(store, at(STORE_CONVERSATIONS, 0, id->bytes, ID_BYTES), tier, &row, &len);
    if (!err && row)
        err = conversation_decode(id, dedup, (struct span){row, len}, &c);
    memory_free(row);
    if (!err && c)
        err = rows_load_filters(store, c, tier);
    if (!err && c)
        err = load_tail(store, c, tier);
    if (err)
        conversation_destroy(&c);
    *out = c;
    return err;
}

int rows_load(struct store *store, const struct machine_key *key, enum store_tier tier,
              const struct dedup_options *dedup, void **out)
{
    uint8_t page_key[ROWS_PAGE_KEY_BYTES], *row;
    size_t len;
    *out = NULL;
    if (key->kind == OBJECT_CONVERSATION)
        return load_conversation(store, &key->id, tier, dedup, out);
    bool is_page = key->kind == OBJECT_PAGE;
    struct store_key where = is_page ? page_at(key, page_key) : at(STORE_USERS, 0, key->id.bytes, ID_BYTES);
    int err = get(store, where, tier, &row, &len);
    if (!err && row) {
        struct span span = {row, len};
        struct page *page = NULL;
        struct user *user = NULL;
        err = is_page ? page_decode(&key->id, key->page, span, &page) : user_decode(&key->id, span, &user);
        *out = is_page ? (void *)page : (void *)user;
    }
    memory_free(row);
    return err;
}

int rows_need(struct store *store, struct objects *objects, const struct machine_key *key,
              struct object **out)
{
    void *any = NULL;
    int err = objects_node(objects, key, out);
    if (err || (*out)->is.any)
        return err;
    err = rows_load(store, key, STORE_ALL, &objects->dedup, &any);
    if (err || !any)
        return err ? err : objects_make(objects, *out);
    objects_give(objects, *out, any);
    return 0;
}

int rows_load_dedup(struct store *store, const struct id16 *conversation, uint64_t first_id,
                    enum store_tier tier, uint8_t **row, size_t *len)
{
    uint8_t key[ROWS_CHUNK_KEY_BYTES];
    rows_chunk_key(conversation, first_id, key);
    return get(store, at(STORE_DEDUP, snowflake_month(first_id), key, sizeof key), tier, row, len);
}

/* -- writing */

static void put_chunk(struct store_batch *batch, const struct id16 *id, const struct chunk *chunk)
{
    uint8_t key[ROWS_CHUNK_KEY_BYTES];
    if (chunk->stored_count == chunk->count)
        return;
    rows_chunk_key(id, chunk->first_id, key);
    struct store_key where = at(STORE_MESSAGES, snowflake_month(chunk->first_id), key, sizeof key);
    if (chunk->stored_count == 0 || chunk_wants_rewrite(chunk))
        store_batch_put(batch, where, chunk_row(chunk));
    else
        store_batch_append(batch, where, chunk_unstored(chunk));
}

static void put_filter(struct store_batch *batch, const struct conversation *c,
                       const struct dedup_piece *piece)
{
    uint8_t key[ROWS_CHUNK_KEY_BYTES], room[DEDUP_SEGMENT_BYTES_MAX];
    struct bytes_writer w = bytes_writer_of(room, sizeof room);
    if (piece->segment_whole)
        dedup_piece_put_segment(&c->dedup, piece, &w);
    else
        dedup_piece_put_filter(&c->dedup, piece, &w);
    parley_assert(!w.failed);
    key_of(&c->id, piece->segment, key);
    struct store_key where = at(STORE_FILTERS, 0, key, sizeof key);
    struct span row = {room, bytes_writer_len(&w)};
    if (piece->segment_whole)
        store_batch_put(batch, where, row);
    else
        store_batch_append(batch, where, row);
}

static void put_dedup(struct store_batch *batch, const struct conversation *c)
{
    const struct dedup *d = &c->dedup;
    uint8_t key[ROWS_CHUNK_KEY_BYTES], room[ROW_STACK_BYTES];
    struct dedup_piece piece;
    for (uint64_t from = d->stored; dedup_piece_at(d, from, &piece); from = piece.next) {
        struct bytes_writer w = bytes_writer_of(room, sizeof room);
        dedup_piece_put_row(d, &piece, &w);
        struct span row = {room, bytes_writer_len(&w)};
        rows_chunk_key(&c->id, piece.first_id, key);
        struct store_key where = at(STORE_DEDUP, snowflake_month(piece.first_id), key, sizeof key);
        if (piece.row_is_new)
            store_batch_put(batch, where, row);
        else
            store_batch_append(batch, where, row);
        put_filter(batch, c, &piece);
    }
    uint64_t stale, kept;
    for (dedup_stale_segments(d, &stale, &kept); stale < kept; stale++) {
        key_of(&c->id, stale, key);
        store_batch_delete(batch, at(STORE_FILTERS, 0, key, sizeof key));
    }
}

void rows_put_filters(struct store_batch *batch, const struct conversation *c)
{
    const struct dedup *d = &c->dedup;
    uint8_t key[ROWS_CHUNK_KEY_BYTES];
    struct dedup_piece piece;
    uint64_t cleared = UINT64_MAX;
    for (uint64_t from = d->base; dedup_piece_at(d, from, &piece); from = piece.next) {
        if (piece.segment != cleared) {
            key_of(&c->id, piece.segment, key);
            store_batch_delete(batch, at(STORE_FILTERS, 0, key, sizeof key));
            cleared = piece.segment;
        }
        put_filter(batch, c, &piece);
    }
}

static void put_conversation(struct store_batch *batch, const struct conversation *c)
{
    uint8_t room[CONVERSATION_ROW_BYTES_MAX];
    struct bytes_writer w = bytes_writer_of(room, sizeof room);
    for (uint32_t i = 0; i < c->chunk_count; i++)
        put_chunk(batch, &c->id, c->chunks[i]);
    put_dedup(batch, c);
    conversation_encode(c, &w);
    parley_assert(!w.failed);
    store_batch_put(batch, at(STORE_CONVERSATIONS, 0, c->id.bytes, ID_BYTES),
                    (struct span){room, bytes_writer_len(&w)});
}

static int put_page(struct store_batch *batch, const struct object *node)
{
    uint8_t key[ROWS_PAGE_KEY_BYTES];
    size_t room = page_len_max(node->is.page);
    uint8_t *row = memory_alloc(room);
    if (!row)
        return -PARLEY_ERR_NOMEM;
    struct bytes_writer w = bytes_writer_of(row, room);
    page_encode(node->is.page, &w);
    parley_assert(!w.failed);
    store_batch_put(batch, page_at(&node->key, key), (struct span){row, bytes_writer_len(&w)});
    memory_free(row);
    return 0;
}

static void put_user(struct store_batch *batch, const struct user *user)
{
    uint8_t row[USER_ROW_BYTES_MAX];
    struct bytes_writer w = bytes_writer_of(row, sizeof row);
    user_encode(user, &w);
    parley_assert(!w.failed);
    store_batch_put(batch, at(STORE_USERS, 0, user->hash.bytes, ID_BYTES),
                    (struct span){row, bytes_writer_len(&w)});
}

void rows_put(struct store_batch *batch, const struct object *node)
{
    switch (node->key.kind) {
    case OBJECT_CONVERSATION:
        put_conversation(batch, node->is.conversation);
        break;
    case OBJECT_PAGE:
        if (put_page(batch, node))
            store_batch_fail(batch);
        break;
    case OBJECT_USER:
        put_user(batch, node->is.user);
        break;
    }
}

void rows_submitted(struct object *node)
{
    if (node->key.kind != OBJECT_CONVERSATION)
        return;
    struct conversation *c = node->is.conversation;
    for (uint32_t i = 0; i < c->chunk_count; i++) {
        struct chunk *chunk = c->chunks[i];
        if (chunk->stored_count != chunk->count)
            chunk_stored(chunk, chunk->count, chunk->len, chunk_wants_rewrite(chunk));
    }
    dedup_bounds_stored(&c->dedup);
    dedup_stored(&c->dedup, c->dedup.applied,
                 UINT32_MAX); /* the entries leave memory when they are written */
}

void rows_forget(struct object *node)
{
    if (node->key.kind != OBJECT_CONVERSATION)
        return;
    struct conversation *c = node->is.conversation;
    conversation_forget_stored(c, KEPT_CHUNKS);
    dedup_stored(&c->dedup, c->dedup.stored, KEPT_DEDUP_ENTRIES);
}

void rows_put_position(struct store_batch *batch, const struct rows_position *position)
{
    uint8_t row[POSITION_BYTES];
    struct bytes_writer w = bytes_writer_of(row, sizeof row);
    bytes_put_u8(&w, POSITION_VERSION);
    bytes_put_u64(&w, position->redo);
    bytes_put_u64(&w, position->max_position);
    store_batch_put(batch, (struct store_key){STORE_META, 0, position_key}, (struct span){row, sizeof row});
}

int rows_load_position(struct store *store, enum store_tier tier, struct rows_position *out)
{
    uint8_t *row;
    size_t len;
    *out = (struct rows_position){0};
    int err = get(store, (struct store_key){STORE_META, 0, position_key}, tier, &row, &len);
    if (err || !row)
        return err;
    struct bytes_reader r = bytes_reader_of(row, len);
    if (bytes_get_u8(&r) != POSITION_VERSION)
        err = -PARLEY_ERR_CORRUPT;
    out->redo = bytes_get_u64(&r);
    out->max_position = bytes_get_u64(&r);
    if (!bytes_reader_done(&r) || out->redo == 0)
        err = -PARLEY_ERR_CORRUPT;
    memory_free(row);
    return err;
}

/* -- derived */

static struct store_key membership_at(const struct id16 *user, const struct id16 *conversation,
                                      uint8_t key[ROWS_MEMBERSHIP_KEY_BYTES])
{
    memcpy(key, user->bytes, ID_BYTES);
    memcpy(key + ID_BYTES, conversation->bytes, ID_BYTES);
    return at(STORE_MEMBERSHIPS, 0, key, ROWS_MEMBERSHIP_KEY_BYTES);
}

void rows_put_membership(struct store_batch *batch, const struct id16 *user, const struct id16 *conversation,
                         uint64_t id)
{
    uint8_t key[ROWS_MEMBERSHIP_KEY_BYTES], row[MEMBERSHIP_BYTES];
    struct bytes_writer w = bytes_writer_of(row, sizeof row);
    bytes_put_u8(&w, MEMBERSHIP_VERSION);
    bytes_put_u64(&w, id);
    store_batch_put(batch, membership_at(user, conversation, key), (struct span){row, sizeof row});
}

void rows_delete_membership(struct store_batch *batch, const struct id16 *user,
                            const struct id16 *conversation)
{
    uint8_t key[ROWS_MEMBERSHIP_KEY_BYTES];
    store_batch_delete(batch, membership_at(user, conversation, key));
}

int rows_load_membership(struct store *store, const struct id16 *user, const struct id16 *conversation,
                         enum store_tier tier, uint64_t *id)
{
    uint8_t key[ROWS_MEMBERSHIP_KEY_BYTES], *row;
    size_t len;
    *id = 0;
    int err = get(store, membership_at(user, conversation, key), tier, &row, &len);
    if (err || !row)
        return err;
    struct bytes_reader r = bytes_reader_of(row, len);
    bool known = bytes_get_u8(&r) == MEMBERSHIP_VERSION;
    *id = bytes_get_u64(&r);
    memory_free(row);
    return known && bytes_reader_done(&r) && *id ? 0 : -PARLEY_ERR_CORRUPT;
}

struct membership_scan {
    rows_membership_fn *fn;
    void *owner;
};

static int on_membership(void *owner, struct span key, struct span value)
{
    struct membership_scan *scan = owner;
    struct bytes_reader r = bytes_reader_of(value.data, value.len);
    struct id16 conversation;
    bool known = bytes_get_u8(&r) == MEMBERSHIP_VERSION;
    uint64_t id = bytes_get_u64(&r);
    if (key.len != ROWS_MEMBERSHIP_KEY_BYTES || !known || !bytes_reader_done(&r))
        return -PARLEY_ERR_CORRUPT;
    memcpy(conversation.bytes, key.data + ID_BYTES, ID_BYTES);
    return scan->fn(scan->owner, &conversation, id);
}

int rows_scan_memberships(struct store *store, const struct id16 *user, const struct id16 *from,
                          rows_membership_fn *fn, void *owner)
{
    uint8_t key[ROWS_MEMBERSHIP_KEY_BYTES];
    struct membership_scan scan = {fn, owner};
    return store_scan(store, membership_at(user, from, key), ID_BYTES, on_membership, &scan);
}

static struct store_key large_at(const struct id16 *conversation, uint8_t key[LARGE_KEY_BYTES])
{
    memcpy(key, "large", LARGE_NAME_BYTES);
    memcpy(key + LARGE_NAME_BYTES, conversation->bytes, ID_BYTES);
    return at(STORE_META, 0, key, LARGE_KEY_BYTES);
}

void rows_put_large(struct store_batch *batch, const struct id16 *conversation)
{
    uint8_t key[LARGE_KEY_BYTES], version = LARGE_VERSION;
    store_batch_put(batch, large_at(conversation, key), (struct span){&version, 1});
}

void rows_delete_large(struct store_batch *batch, const struct id16 *conversation)
{
    uint8_t key[LARGE_KEY_BYTES];
    store_batch_delete(batch, large_at(conversation, key));
}

struct large_scan {
    rows_large_fn *fn;
    void *owner;
};

static int on_large(void *owner, struct span key, struct span value)
{
    struct large_scan *scan = owner;
    struct id16 conversation;
    if (key.len != LARGE_KEY_BYTES || value.len != 1 || value.data[0] != LARGE_VERSION)
        return -PARLEY_ERR_CORRUPT;
    memcpy(conversation.bytes, key.data + LARGE_NAME_BYTES, ID_BYTES);
    return scan->fn(scan->owner, &conversation);
}

int rows_scan_large(struct store *store, rows_large_fn *fn, void *owner)
{
    struct large_scan scan = {fn, owner};
    struct store_key from = {STORE_META, 0, {(const uint8_t *)"large", LARGE_NAME_BYTES}};
    return store_scan(store, from, LARGE_NAME_BYTES, on_large, &scan);
}

static struct store_key offset_at(uint32_t source, uint8_t key[OFFSET_KEY_BYTES])
{
    memcpy(key, "derived", OFFSET_NAME_BYTES);
    put_be(key + OFFSET_NAME_BYTES, source, sizeof source);
    return at(STORE_META, 0, key, OFFSET_KEY_BYTES);
}

void rows_put_offset(struct store_batch *batch, uint32_t source, uint64_t offset)
{
    uint8_t key[OFFSET_KEY_BYTES], row[sizeof offset];
    struct bytes_writer w = bytes_writer_of(row, sizeof row);
    bytes_put_u64(&w, offset);
    store_batch_put(batch, offset_at(source, key), (struct span){row, sizeof row});
}

int rows_load_offset(struct store *store, uint32_t source, enum store_tier tier, uint64_t *out)
{
    uint8_t key[OFFSET_KEY_BYTES], *row;
    size_t len;
    *out = 1;
    int err = get(store, offset_at(source, key), tier, &row, &len);
    if (err || !row)
        return err;
    struct bytes_reader r = bytes_reader_of(row, len);
    *out = bytes_get_u64(&r);
    if (!bytes_reader_done(&r) || *out == 0)
        err = -PARLEY_ERR_CORRUPT;
    memory_free(row);
    return err;
}
