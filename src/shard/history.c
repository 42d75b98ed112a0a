#include "src/shard/history.h"

#include <string.h>

#include "src/base/error.h"
#include "src/base/memory.h"

/* One wanted entry: where its encoded bytes lie in its chunk. */
struct slice {
    const uint8_t *data;
    size_t len;
};

/* The chunk's entries with after < id < before, in order; the last `limit` of them, or the first when forward. */
static int collect(const struct chunk *chunk, const struct history_query *q, struct slice *out,
                   uint32_t limit, uint32_t *count, bool *more)
{
    struct chunk_cursor at = chunk_begin(chunk_row(chunk));
    bool forward = q->way == HISTORY_AFTER;
    uint64_t after = forward ? q->from : 0, before = !forward && q->from ? q->from : UINT64_MAX;
    struct message m;
    const uint8_t *from = at.reader.at;
    int err;
    *count = 0;
    for (; (err = chunk_next(&at, &m)) == 0; from = at.reader.at) {
        if (m.id <= after || m.id >= before)
            continue;
        if (*count == limit) {
            *more = true;
            if (forward)
                return 0;
            memmove(out, out + 1, (limit - 1) * sizeof *out);
            --*count;
        }
        out[(*count)++] = (struct slice){from, (size_t)(at.reader.at - from)};
    }
    return err == -PARLEY_ERR_END ? 0 : err;
}

static int copy(const struct slice *slices, uint32_t count, struct shard_page *out)
{
    size_t len = 0;
    for (uint32_t i = 0; i < count; i++)
        len += slices[i].len;
    out->entries = memory_alloc(len);
    if (!out->entries)
        return -PARLEY_ERR_NOMEM;
    for (uint32_t i = 0; i < count; i++) {
        memcpy(out->entries + out->len, slices[i].data, slices[i].len);
        out->len += slices[i].len;
    }
    out->count = count;
    return 0;
}

/* Backward pages fill `slices` from its end, forward pages from its beginning. */
int history_read(const struct conversation *c, const struct history_query *q, struct shard_page *out)
{
    struct slice slices[HISTORY_LIMIT_MAX], part[HISTORY_LIMIT_MAX];
    uint32_t got = 0;
    bool more = false, forward = q->way == HISTORY_AFTER;
    uint64_t after = forward ? q->from : 0, before = forward ? 0 : q->from;
    *out = (struct shard_page){0};
    parley_assert(q->limit > 0 && q->limit <= HISTORY_LIMIT_MAX);
    for (uint32_t i = 0; i < c->chunk_count && !more; i++) {
        const struct chunk *chunk = c->chunks[forward ? i : c->chunk_count - 1 - i];
        uint32_t count;
        if (chunk->last_id <= after || (before && chunk->first_id >= before))
            continue;
        if (got == q->limit) {
            more = true;
            break;
        }
        int err = collect(chunk, q, part, q->limit - got, &count, &more);
        if (err)
            return err;
        struct slice *to = forward ? slices + got : slices + q->limit - got - count;
        memcpy(to, part, count * sizeof *part);
        got += count;
    }
    int err = copy(forward ? slices : slices + q->limit - got, got, out);
    out->older = !forward && more;
    out->newer = forward && more;
    return err;
}
