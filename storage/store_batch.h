/* storage/store_batch.h: what a batch looks like between the reactor, which fills it, and the thread that
 * writes.
 *
 * Why:    a month's family may not exist yet when a row for it is put, and building RocksDB's own batch costs
 * CPU that the reactor keeps. Shape:  per operation: kind 1, family 1, month 4, key and value with varint
 * lengths. Thread: one at a time.
 */
#ifndef PARLEY_STORAGE_STORE_BATCH_H
#define PARLEY_STORAGE_STORE_BATCH_H

#include "src/base/bytes.h"
#include "storage/store.h"

enum store_batch_kind { STORE_BATCH_PUT, STORE_BATCH_APPEND, STORE_BATCH_DELETE };

struct store_batch_op {
    enum store_batch_kind kind;
    struct store_key at;
    struct span value;
};

struct bytes_reader store_batch_ops(const struct store_batch *batch);
/* False at the end. Asserts that the bytes are sound: they never left our memory. */
bool store_batch_next(struct bytes_reader *ops, struct store_batch_op *op);

#endif
