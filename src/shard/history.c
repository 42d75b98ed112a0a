#include "src/shard/history.h"

#include <string.h>

#include "src/base/error.h"
#include "src/base/memory.h"
#include "src/shard/rows.h"

enum { ID_BYTES = 16, MONTHS_MAX = 1200, PIECES_FIRST = 8 };

/* One wanted entry: where its encoded bytes lie in its chunk. */
struct slice {
    const uint8_t *data;
    size_t len;
    uint64_t id;
};

void history_begin(struct history *h, const struct id16 *conversation, bool forward, uint64_t from,
                   uint32_t limit)
{
    parley_assert(limit > 0 && limit <= HISTORY_LIMIT_MAX);
    *h = (struct history){.conversation = *conversation,
                          .forward = forward,
                          .after = forward ? from : 0,
                          .before = !forward && from ? from : UINT64_MAX,
                          .limit = limit};
}

void history_end(struct history *h)
{
    for (uint32_t i = 0; i < h->piece_count; i++)
        memory_free(h->pieces[i].own);
    memory_free(h->pieces);
    h->pieces = NULL;
    h->piece_count = h->piece_max = 0;
}

static int own(struct history_piece *piece)
{
    piece->own = memory_alloc(piece->len);
    if (!piece->own)
        return -PARLEY_ERR_NOMEM;
    memcpy(piece->own, piece->bytes, piece->len);
    piece->bytes = piece->own;
    return 0;
}

static int keep(struct history *h, const struct slice *slices, uint32_t count, bool borrow)
{
    if (count == 0)
        return 0;
    if (h->piece_count == h->piece_max) {
        uint32_t max = h->piece_max ? 2 * h->piece_max : PIECES_FIRST;
        struct history_piece *pieces = memory_realloc(h->pieces, max * sizeof *pieces);
        if (!pieces)
            return -PARLEY_ERR_NOMEM;
        h->pieces = pieces;
        h->piece_max = max;
    }
    /* They are neighbours in their chunk. */
    struct history_piece piece = {.bytes = slices[0].data, .count = count};
    piece.len = (size_t)(slices[count - 1].data - slices[0].data) + slices[count - 1].len;
    int err = borrow ? 0 : own(&piece);
    if (err)
        return err;
    h->pieces[h->piece_count++] = piece;
    h->count += count;
    h->len += piece.len;
    if (h->forward)
        h->after = slices[count - 1].id;
    else
        h->before = slices[0].id;
    return 0;
}

/* How many of them have a place, from the end where the query begins. */
static uint32_t fitting(const struct history *h, const struct slice *slices, uint32_t count)
{
    uint32_t fit = 0;
    size_t len = h->len;
    while (fit < count && h->count + fit < h->limit) {
        len += slices[h->forward ? fit : count - 1 - fit].len;
        if (len > HISTORY_BYTES_MAX && h->count + fit > 0)
            break;
        fit++;
    }
    return fit;
}

/* Takes what is wanted of a chunk's row, whose messages below `below` count. */
static int take(struct history *h, struct span row, uint64_t below, bool borrow)
{
    struct slice slices[CHUNK_MESSAGES_MAX];
    struct chunk_cursor at = chunk_begin(row);
    const uint8_t *from = at.reader.at;
    uint32_t count = 0;
    uint64_t id;
    int err;
    for (; (err = chunk_next_id(&at, &id)) == 0; from = at.reader.at) { /* the door reads them whole */
        if (id <= h->after || id >= h->before || id >= below)
            continue;
        if (count == CHUNK_MESSAGES_MAX || (count && id <= slices[count - 1].id))
            return -PARLEY_ERR_CORRUPT;
        slices[count++] = (struct slice){from, (size_t)(at.reader.at - from), id};
    }
    if (err != -PARLEY_ERR_END)
        return err;
    uint32_t fit = fitting(h, slices, count);
    err = keep(h, h->forward ? slices : slices + count - fit, fit, borrow);
    if (!err && fit < count)
        h->full = true;
    return err;
}

int history_memory(struct history *h, const struct conversation *c)
{
    int err = 0;
    for (uint32_t i = 0; i < c->chunk_count && !h->full && !err; i++) {
        const struct chunk *chunk = c->chunks[h->forward ? i : c->chunk_count - 1 - i];
        if (chunk->last_id > h->after && chunk->first_id < h->before)
            err = take(h, chunk_row(chunk), UINT64_MAX, true);
    }
    return err;
}

int history_own(struct history *h)
{
    int err = 0;
    for (uint32_t i = 0; i < h->piece_count && !err; i++)
        if (!h->pieces[i].own)
            err = own(&h->pieces[i]);
    return err;
}

static int on_row(void *owner, struct span key, struct span value)
{
    struct history *h = owner;
    uint64_t first;
    int err = rows_chunk_first_id(key, &first);
    if (err)
        return err;
    if (first >= h->store_below) /* in memory, and fresher there */
        return h->forward ? 1 : 0;
    err = take(h, value, h->store_below, false);
    return err ? err : h->full;
}

static int on_only_row(void *owner, struct span key, struct span value)
{
    int err = on_row(owner, key, value);
    return err ? err : 1;
}

/* Keys of newer chunks are smaller. First the chunk that holds what lies just behind `after`, then up in time. */
static int month_forward(struct history *h, struct store *store, uint32_t month)
{
    uint8_t key[ROWS_CHUNK_KEY_BYTES];
    struct store_key from = {STORE_MESSAGES, month, {key, sizeof key}};
    rows_chunk_key(&h->conversation, h->after, key);
    int err = store_scan(store, from, ID_BYTES, on_only_row, h);
    if (err || h->full)
        return err;
    return store_scan_back(store, from, ID_BYTES, on_row, h);
}

static int month_backward(struct history *h, struct store *store, uint32_t month)
{
    uint8_t key[ROWS_CHUNK_KEY_BYTES];
    struct store_key from = {STORE_MESSAGES, month, {key, sizeof key}};
    uint64_t below = h->before < h->store_below ? h->before : h->store_below;
    rows_chunk_key(&h->conversation, below - 1, key);
    return store_scan(store, from, ID_BYTES, on_row, h);
}

int history_store(struct history *h, struct store *store)
{
    uint32_t months[MONTHS_MAX];
    size_t count = store_months(store, months, MONTHS_MAX);
    uint64_t below = h->before < h->store_below ? h->before : h->store_below;
    if (count > MONTHS_MAX)
        count = MONTHS_MAX;
    if (below == 0)
        return 0;
    uint32_t first = snowflake_month(h->after), last = snowflake_month(below - 1);
    int err = 0;
    for (size_t i = 0; i < count && !h->full && !err; i++) {
        uint32_t month = months[h->forward ? count - 1 - i : i];
        if (month >= first && month <= last)
            err = h->forward ? month_forward(h, store, month) : month_backward(h, store, month);
    }
    return err;
}

int history_give(struct history *h, struct shard_page *page)
{
    uint8_t *entries = memory_realloc(page->entries, page->len + h->len);
    if (!entries)
        return -PARLEY_ERR_NOMEM;
    page->entries = entries;
    for (uint32_t i = 0; i < h->piece_count; i++) {
        const struct history_piece *piece = &h->pieces[h->forward ? i : h->piece_count - 1 - i];
        memcpy(page->entries + page->len, piece->bytes, piece->len);
        page->len += piece->len;
        page->count += piece->count;
    }
    if (h->forward)
        page->newer = h->full;
    else
        page->older = h->full;
    return 0;
}
