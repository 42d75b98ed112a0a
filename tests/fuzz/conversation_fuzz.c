/* src/machine/conversation.h and dedup.h: rows of a conversation (its own, one filter row, its newest chunk, a dedup row), all
 * hostile: each is refused, or read and written again as it was. */
#include "src/machine/conversation.h"
#include "src/base/error.h"
#include "tests/fuzz/fuzz.h"

static const struct id16 id = {{1}};
static const struct dedup_options options = {.horizon_ms = 7 * 86400000ull, .entries_max = 10000};

/* Its length in two bytes before it. */
static struct span take_row(struct bytes_reader *r)
{
    size_t len = bytes_get_u16(r), left = (size_t)(r->end - r->at);
    return bytes_get_raw(r, len < left ? len : left);
}

static struct span encode(const struct conversation *c, uint8_t room[CONVERSATION_ROW_BYTES_MAX])
{
    struct bytes_writer w = bytes_writer_of(room, CONVERSATION_ROW_BYTES_MAX);
    conversation_encode(c, &w);
    parley_assert(!w.failed);
    return (struct span){room, bytes_writer_len(&w)};
}

static void check_row(const struct conversation *c, struct span row)
{
    uint8_t room[CONVERSATION_ROW_BYTES_MAX], room_again[CONVERSATION_ROW_BYTES_MAX];
    struct conversation *again = NULL;
    struct span written = encode(c, room);
    int err = conversation_decode(&id, &options, written, &again);
    parley_assert(err == 0 && fuzz_same(written, encode(again, room_again)));
    /* One of an older version is written as one of ours. */
    parley_assert(written.data[0] != row.data[0] || fuzz_same(written, row));
    conversation_destroy(&again);
}

static void check_dedup(struct dedup *d, struct span row)
{
    struct dedup_given given = {.row = row};
    struct dedup_entry found;
    struct id16 fingerprint = {{0}};
    uint64_t need;
    if (row.len >= sizeof fingerprint) /* as if it were asked for */
        memcpy(&fingerprint, row.data, sizeof fingerprint);
    int answer = dedup_find(d, &fingerprint, NULL, 0, &found, &need);
    if (answer != DEDUP_NEED_ROW)
        return;
    given.first_id = need;
    answer = dedup_find(d, &fingerprint, &given, 1, &found, &need);
    parley_assert(answer == DEDUP_NEW || answer == DEDUP_FOUND || answer == -PARLEY_ERR_CORRUPT ||
                  (answer == DEDUP_NEED_ROW && need != given.first_id));
    if (answer == DEDUP_FOUND)
        parley_assert(memcmp(&found.fingerprint, &fingerprint, sizeof fingerprint) == 0);
}

static void load(struct conversation *c, struct bytes_reader *r)
{
    struct dedup *d = &c->dedup;
    int err = 0;
    while (!err && !dedup_loaded(d)) {
        err = dedup_load_segment(d, d->end / DEDUP_SEGMENT_ORDINALS, take_row(r));
        parley_assert(err == 0 || err == -PARLEY_ERR_CORRUPT);
    }
    if (err)
        return;
    check_dedup(d, take_row(r));
    struct span tail = take_row(r);
    err = conversation_give_tail(c, tail);
    parley_assert(err == 0 || err == -PARLEY_ERR_CORRUPT);
    if (err == 0)
        parley_assert(c->chunk_count == 1 && fuzz_same(chunk_row(c->chunks[0]), tail) &&
                      c->chunks[0]->first_id == c->open_chunk_id);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct bytes_reader r = bytes_reader_of(data, len);
    struct conversation *c = NULL;
    struct span row = take_row(&r);
    int err = conversation_decode(&id, &options, row, &c);
    parley_assert(err == 0 || (err == -PARLEY_ERR_CORRUPT && !c));
    if (err)
        return 0;
    check_row(c, row);
    load(c, &r);
    conversation_destroy(&c);
    return 0;
}
