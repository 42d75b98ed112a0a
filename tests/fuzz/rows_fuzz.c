/* src/shard/rows.h: a store whose rows are all the input's. An object is refused or loaded, and a loaded one is put back as the
 * row that it was. The input's parts are: what to load, then rows, each with its length in two bytes. */
#include "src/base/error.h"
#include "src/base/memory.h"
#include "src/shard/rows.h"
#include "tests/fuzz/fuzz.h"
#include "tests/sim/sim_store.h"

enum {
    LOAD_CONVERSATION,
    LOAD_PAGE,
    LOAD_USER,
    LOAD_POSITION,
    LOAD_OFFSET,
    LOAD_MEMBERSHIPS,
    LOAD_KEY,
    LOAD_COUNT
};
enum { PAGE_NUMBER = 3, SOURCE = 5, KEY_BYTES_MAX = 32 };

static const struct id16 id = {{1, 2, 3}};
static const struct dedup_options dedup = {.horizon_ms = 7 * 86400000ull, .entries_max = 10000};
static struct store *store;

static void wake(void *owner)
{
    (void)owner;
}

static void on_fatal(void *owner, const char *what)
{
    (void)owner, (void)what;
    parley_assert(!"the store does not fail");
}

static void on_done(void *owner)
{
    *(bool *)owner = true;
}

static void submit(struct store_batch **batch)
{
    bool done = false;
    int err = store_submit(store, batch, on_done, &done);
    parley_assert(err == 0);
    while (!done)
        store_poll(store);
}

static struct store_batch *batch_new(void)
{
    struct store_batch *batch = NULL;
    int err = store_batch_create(store, &batch);
    parley_assert(err == 0);
    return batch;
}

static struct span take_row(struct bytes_reader *r)
{
    size_t len = bytes_get_u16(r), left = (size_t)(r->end - r->at);
    return bytes_get_raw(r, len < left ? len : left);
}

static void put(struct store_batch *batch, enum store_family family, uint64_t first_id, const void *key,
                size_t len, struct span row)
{
    uint32_t month = family >= STORE_FIXED_COUNT ? snowflake_month(first_id) : 0;
    store_batch_put(batch, (struct store_key){family, month, {key, len}}, row);
}

/* The row as it is in the store. */
static void check_row(enum store_family family, const void *key, size_t key_len, struct span wanted)
{
    uint8_t *row = NULL;
    size_t len = 0;
    int err = store_get(store, (struct store_key){family, 0, {key, key_len}}, STORE_ALL, &row, &len);
    parley_assert(err == 0 && row);
    bool older =
        len && wanted.len && family != STORE_META && row[0] != wanted.data[0]; /* written as one of ours */
    parley_assert(older || fuzz_same(wanted, (struct span){row, len}));
    memory_free(row);
}

static void load_object(enum object_kind kind, enum store_family family, struct bytes_reader *r)
{
    uint8_t key[KEY_BYTES_MAX];
    size_t key_len = sizeof id;
    struct object node = {.key = {.kind = kind, .id = id, .page = kind == OBJECT_PAGE ? PAGE_NUMBER : 0}};
    struct store_batch *batch = batch_new();
    memcpy(key, &id, sizeof id);
    if (kind == OBJECT_PAGE) {
        static const uint8_t number[] = {0, 0, 0, PAGE_NUMBER};
        memcpy(key + key_len, number, sizeof number);
        key_len += sizeof number;
    }
    struct span row = take_row(r);
    put(batch, family, 0, key, key_len, row);
    if (kind == OBJECT_CONVERSATION) { /* its filters' first segment and the chunk that some row may name */
        uint8_t other[ROWS_CHUNK_KEY_BYTES] = {0};
        uint64_t chunk_id = bytes_get_u64(r);
        memcpy(other, &id, sizeof id);
        put(batch, STORE_FILTERS, 0, other, sizeof other, take_row(r));
        rows_chunk_key(&id, chunk_id, other);
        put(batch, STORE_MESSAGES, chunk_id, other, sizeof other, take_row(r));
    }
    submit(&batch);
    int err = rows_load(store, &node.key, STORE_ALL, &dedup, &node.is.any);
    parley_assert(err == 0 || (err == -PARLEY_ERR_CORRUPT && !node.is.any));
    if (err == 0 && node.is.any) {
        batch = batch_new();
        rows_put(batch, &node);
        submit(&batch);
        check_row(family, key, key_len, row);
        objects_destroy_one(kind, node.is.any);
    }
}

static void load_position(struct bytes_reader *r)
{
    struct rows_position position;
    struct store_batch *batch = batch_new();
    struct span row = take_row(r);
    put(batch, STORE_META, 0, "position", 8, row);
    submit(&batch);
    int err = rows_load_position(store, STORE_ALL, &position);
    parley_assert(err == 0 || err == -PARLEY_ERR_CORRUPT);
    if (err)
        return;
    batch = batch_new();
    rows_put_position(batch, &position);
    submit(&batch);
    check_row(STORE_META, "position", 8, row);
}

static void load_offset(struct bytes_reader *r)
{
    static const uint8_t key[] = {'d', 'e', 'r', 'i', 'v', 'e', 'd', 0, 0, 0, SOURCE};
    uint64_t offset;
    struct store_batch *batch = batch_new();
    struct span row = take_row(r);
    put(batch, STORE_META, 0, key, sizeof key, row);
    submit(&batch);
    int err = rows_load_offset(store, SOURCE, STORE_ALL, &offset);
    parley_assert(err == 0 || err == -PARLEY_ERR_CORRUPT);
    if (err)
        return;
    batch = batch_new();
    rows_put_offset(batch, SOURCE, offset);
    submit(&batch);
    check_row(STORE_META, key, sizeof key, row);
}

struct scan {
    struct span row;
    uint8_t key[KEY_BYTES_MAX];
    uint32_t count;
};

static int on_membership(void *owner, const struct id16 *conversation, uint64_t event)
{
    struct scan *scan = owner;
    uint8_t room[9];
    struct bytes_writer w = bytes_writer_of(room, sizeof room);
    bytes_put_u8(&w, 1);
    bytes_put_u64(&w, event);
    parley_assert(fuzz_same(scan->row, (struct span){w.start, bytes_writer_len(&w)}));
    parley_assert(memcmp(conversation, scan->key + sizeof id, sizeof *conversation) == 0);
    scan->count++;
    return 0;
}

/* A key of the user's, of whatever length, with whatever value. */
static void load_memberships(struct bytes_reader *r)
{
    static const struct id16 from = {{0}};
    struct scan scan = {.count = 0};
    struct store_batch *batch = batch_new();
    size_t len = sizeof id + fuzz_below(r, sizeof scan.key - sizeof id + 1);
    memcpy(scan.key, &id, sizeof id);
    for (size_t i = sizeof id; i < len; i++)
        scan.key[i] = bytes_get_u8(r);
    scan.row = take_row(r);
    put(batch, STORE_MEMBERSHIPS, 0, scan.key, len, scan.row);
    submit(&batch);
    int err = rows_scan_memberships(store, &id, &from, on_membership, &scan);
    parley_assert(err == 0 || (err == -PARLEY_ERR_CORRUPT && scan.count == 0));
    parley_assert(scan.count == 0 || len == sizeof scan.key);
}

static void read_key(struct bytes_reader *r)
{
    struct span key = fuzz_rest(r);
    uint8_t again[ROWS_CHUNK_KEY_BYTES];
    struct id16 owner;
    uint64_t first_id;
    if (rows_chunk_first_id(key, &first_id) != 0) {
        parley_assert(key.len != ROWS_CHUNK_KEY_BYTES);
        return;
    }
    memcpy(&owner, key.data, sizeof owner);
    rows_chunk_key(&owner, first_id, again);
    parley_assert(fuzz_same(key, (struct span){again, sizeof again}));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const struct sim_store_odds calm = {1000, 0, 0, 1000};
    struct bytes_reader r = bytes_reader_of(data, len);
    struct store_options options = {.dir = "rows", .wake = wake, .on_fatal = on_fatal};
    char why[256];
    sim_store_set(&calm, 1);
    int err = store_open(&options, &store, why, sizeof why);
    parley_assert(err == 0);
    switch (fuzz_below(&r, LOAD_COUNT)) {
    case LOAD_CONVERSATION:
        load_object(OBJECT_CONVERSATION, STORE_CONVERSATIONS, &r);
        break;
    case LOAD_PAGE:
        load_object(OBJECT_PAGE, STORE_MEMBERS, &r);
        break;
    case LOAD_USER:
        load_object(OBJECT_USER, STORE_USERS, &r);
        break;
    case LOAD_POSITION:
        load_position(&r);
        break;
    case LOAD_OFFSET:
        load_offset(&r);
        break;
    case LOAD_MEMBERSHIPS:
        load_memberships(&r);
        break;
    case LOAD_KEY:
        read_key(&r);
        break;
    }
    store_close(&store);
    sim_store_forget();
    return 0;
}
