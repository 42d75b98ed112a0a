/* src/machine/chunk.h: a hostile row is refused or is a run of messages that, appended one by one, give the same row. */
#include "src/machine/chunk.h"
#include "src/base/error.h"
#include "tests/fuzz/fuzz.h"

static void check(const struct chunk *had, struct span row)
{
    struct chunk *again = NULL;
    struct chunk_cursor cursor = chunk_begin(row), ids = chunk_begin(row);
    struct message m, found;
    uint64_t id, count = 0;
    int err = chunk_create(&again);
    parley_assert(err == 0 && fuzz_same(chunk_row(had), row) && chunk_unstored(had).len == 0);
    while ((err = chunk_next(&cursor, &m)) == 0) {
        parley_assert(chunk_next_id(&ids, &id) == 0 && id == m.id && m.seq == had->first_seq + count++);
        parley_assert(chunk_find_id(row, m.id, &found) == 0 && fuzz_same(found.body, m.body));
        parley_assert(chunk_find_seq(row, m.seq, &found) == 0 && found.id == m.id);
        parley_assert(chunk_append(again, &m) == 0);
    }
    parley_assert(err == -PARLEY_ERR_END && count == had->count && count <= CHUNK_MESSAGES_MAX);
    parley_assert(fuzz_same(chunk_row(again), row) && again->last_id == had->last_id);
    parley_assert(chunk_find_id(row, had->last_id + 1, &found) == -PARLEY_ERR_NOT_FOUND);
    chunk_destroy(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct span row = {data, len};
    struct chunk *chunk = NULL;
    struct message m;
    int err = chunk_decode(row, &chunk);
    if (err == 0)
        check(chunk, row);
    else /* readers walk over rows without decoding them first */
        for (struct chunk_cursor cursor = chunk_begin(row); chunk_next(&cursor, &m) == 0;)
            parley_assert(m.id != 0 && m.seq != 0 && m.body.len <= len);
    parley_assert(err == 0 || (err == -PARLEY_ERR_CORRUPT && !chunk));
    chunk_destroy(&chunk);
    return 0;
}
