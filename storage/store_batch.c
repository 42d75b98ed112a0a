#include "storage/store_batch.h"

#include "src/base/error.h"
#include "src/base/memory.h"
#include "storage/store_internal.h"

enum { OP_HEAD_MAX = 1 + 1 + 4 + 10 + 10, BATCH_CAP_MIN = 4096 };

int store_batch_create(struct store *store, struct store_batch **out)
{
    parley_assert(store->magic == STORE_MAGIC);
    struct store_batch *batch = memory_zalloc(sizeof *batch);
    if (!batch)
        return -PARLEY_ERR_NOMEM;
    batch->magic = STORE_BATCH_MAGIC;
    *out = batch;
    return 0;
}

void store_batch_destroy(struct store_batch **out)
{
    struct store_batch *batch = *out;
    if (!batch)
        return;
    parley_assert(batch->magic == STORE_BATCH_MAGIC);
    *out = NULL;
    batch->magic = 0;
    memory_free(batch->data);
    memory_free(batch);
}

static bool batch_reserve(struct store_batch *batch, size_t more)
{
    if (batch->cap - batch->len >= more)
        return true;
    size_t cap = batch->cap ? batch->cap : BATCH_CAP_MIN;
    while (cap - batch->len < more)
        cap *= 2;
    uint8_t *data = memory_realloc(batch->data, cap);
    if (!data)
        return false;
    batch->data = data;
    batch->cap = cap;
    return true;
}

static void batch_add(struct store_batch *batch, enum store_batch_kind kind, struct store_key at,
                      struct span value)
{
    parley_assert(batch->magic == STORE_BATCH_MAGIC && at.family < STORE_FAMILY_COUNT);
    parley_assert((at.family >= STORE_FIXED_COUNT) == (at.month != 0));
    if (batch->failed)
        return;
    if (!batch_reserve(batch, OP_HEAD_MAX + at.key.len + value.len)) {
        batch->failed = true;
        return;
    }
    struct bytes_writer w = bytes_writer_of(batch->data + batch->len, batch->cap - batch->len);
    bytes_put_u8(&w, (uint8_t)kind);
    bytes_put_u8(&w, (uint8_t)at.family);
    bytes_put_u32(&w, at.month);
    bytes_put_span(&w, at.key);
    bytes_put_span(&w, value);
    parley_assert(!w.failed);
    batch->len += bytes_writer_len(&w);
}

void store_batch_put(struct store_batch *batch, struct store_key at, struct span value)
{
    batch_add(batch, STORE_BATCH_PUT, at, value);
}

void store_batch_append(struct store_batch *batch, struct store_key at, struct span value)
{
    batch_add(batch, STORE_BATCH_APPEND, at, value);
}

void store_batch_delete(struct store_batch *batch, struct store_key at)
{
    struct span none = {NULL, 0};
    batch_add(batch, STORE_BATCH_DELETE, at, none);
}

void store_batch_fail(struct store_batch *batch)
{
    batch->failed = true;
}

size_t store_batch_bytes(const struct store_batch *batch)
{
    return batch->len;
}

struct bytes_reader store_batch_ops(const struct store_batch *batch)
{
    return bytes_reader_of(batch->data, batch->len);
}

bool store_batch_next(struct bytes_reader *ops, struct store_batch_op *op)
{
    if (bytes_reader_done(ops))
        return false;
    op->kind = (enum store_batch_kind)bytes_get_u8(ops);
    op->at.family = (enum store_family)bytes_get_u8(ops);
    op->at.month = bytes_get_u32(ops);
    op->at.key = bytes_get_span(ops);
    op->value = bytes_get_span(ops);
    parley_assert(!ops->failed);
    return true;
}
