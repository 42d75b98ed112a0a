/* tests/unit/machine_world.h: a shard without I/O around the machine: a log in memory, one conversation, its pages
 * and a store of rows, so that tests can decide, commit late, write back, lose memory and replay. */
#ifndef PARLEY_TESTS_UNIT_MACHINE_WORLD_H
#define PARLEY_TESTS_UNIT_MACHINE_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "src/base/error.h"
#include "src/base/memory.h"
#include "src/machine/machine.h"

enum { WORLD_PAGES_MAX = 64, WORLD_ROWS_MAX = 8192 };

struct world_row {
    char kind; /* c(hunk), d(edup), f(ilter), p(age), o(bject) */
    uint64_t key;
    uint8_t *data;
    size_t len;
};

struct world {
    struct snowflake ids;
    struct machine_context ctx;
    struct dedup_options dedup;
    struct id16 id;
    struct conversation *conv;
    struct page *pages[WORLD_PAGES_MAX];
    uint32_t page_count;
    uint8_t *log; /* events one behind the other; where[p - 1] is the event at position p */
    size_t log_len, log_max;
    size_t *where;
    uint64_t end, applied; /* positions: next to append, next to apply */
    struct world_row rows[WORLD_ROWS_MAX];
    uint32_t row_count;
};

static inline uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

static inline struct id16 hash_bytes(void *owner, const void *data, size_t len)
{
    (void)owner;
    const uint8_t *p = data;
    uint64_t h[2] = {len + 1, len + 77};
    for (size_t i = 0; i < len; i++)
        for (unsigned j = 0; j < 2; j++)
            h[j] = mix(h[j] * 31 + p[i] + j);
    struct id16 id;
    memcpy(id.bytes, h, sizeof id.bytes);
    return id;
}

static inline uint64_t dice(uint64_t *seed, uint64_t sides)
{
    *seed += 0x9e3779b97f4a7c15ull;
    return mix(*seed) % sides;
}

static inline struct span text(const char *s)
{
    return (struct span){(const uint8_t *)s, strlen(s)};
}

static inline struct id16 user_hash(struct span user)
{
    return hash_bytes(NULL, user.data, user.len);
}

static inline void world_objects(struct world *w)
{
    assert_int_equal(conversation_create(&w->id, &w->dedup, &w->conv), 0);
    w->page_count = 0;
}

static inline void world_drop_objects(struct world *w)
{
    conversation_destroy(&w->conv);
    for (uint32_t i = 0; i < w->page_count; i++)
        page_destroy(&w->pages[i]);
    w->page_count = 0;
}

static inline struct world *world_new(struct id16 id)
{
    struct world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    w->id = id;
    w->dedup = (struct dedup_options){.horizon_ms = 7 * 86400000ull, .entries_max = 1000000};
    w->end = w->applied = 1;
    snowflake_init(&w->ids, 3, 0);
    w->ctx = (struct machine_context){.ids = &w->ids,
                                      .now_ms = SNOWFLAKE_EPOCH_MS + 200000000000ull,
                                      .limits = {1000, 100000, 64 * 1024, 200},
                                      .hasher = {NULL, hash_bytes}};
    world_objects(w);
    return w;
}

static inline void world_free(struct world *w)
{
    world_drop_objects(w);
    for (uint32_t i = 0; i < w->row_count; i++)
        free(w->rows[i].data);
    free(w->log);
    free(w->where);
    free(w);
}

static inline struct world_row *world_row(struct world *w, char kind, uint64_t key, bool make)
{
    for (uint32_t i = w->row_count; i > 0; i--)
        if (w->rows[i - 1].kind == kind && w->rows[i - 1].key == key)
            return &w->rows[i - 1];
    if (!make)
        return NULL;
    assert_true(w->row_count < WORLD_ROWS_MAX);
    w->rows[w->row_count] = (struct world_row){.kind = kind, .key = key};
    return &w->rows[w->row_count++];
}

static inline void world_write(struct world *w, char kind, uint64_t key, struct span value, bool merge)
{
    struct world_row *row = world_row(w, kind, key, true);
    size_t had = merge ? row->len : 0;
    row->data = realloc(row->data, had + value.len + 1);
    assert_non_null(row->data);
    if (value.len)
        memcpy(row->data + had, value.data, value.len);
    row->len = had + value.len;
}

static inline struct span world_value(struct world *w, char kind, uint64_t key)
{
    struct world_row *row = world_row(w, kind, key, false);
    return row ? (struct span){row->data, row->len} : (struct span){0};
}

/* As the reader pool would: the row, or a fresh object. */
static inline struct page *world_page(struct world *w, uint32_t number)
{
    for (uint32_t i = 0; i < w->page_count; i++)
        if (w->pages[i]->number == number)
            return w->pages[i];
    assert_true(w->page_count < WORLD_PAGES_MAX);
    struct span row = world_value(w, 'p', number);
    struct page **out = &w->pages[w->page_count];
    assert_int_equal(row.len ? page_decode(&w->id, number, row, out) : page_create(&w->id, number, out), 0);
    return w->pages[w->page_count++];
}

static inline struct machine_view world_view(struct world *w)
{
    return (struct machine_view){.conversation = w->conv, .pages = w->pages, .page_count = w->page_count};
}

static inline void world_append(struct world *w, const struct event *e)
{
    size_t need = w->log_len + event_len_max(e);
    if (need > w->log_max) {
        w->log_max = 2 * need;
        w->log = realloc(w->log, w->log_max);
        assert_non_null(w->log);
    }
    struct bytes_writer out = bytes_writer_of(w->log + w->log_len, w->log_max - w->log_len);
    event_encode(&out, e);
    assert_false(out.failed);
    w->where = realloc(w->where, (w->end + 1) * sizeof *w->where);
    assert_non_null(w->where);
    w->where[w->end - 1] = w->log_len;
    w->log_len += bytes_writer_len(&out);
    w->end++;
}

static inline void world_load(struct world *w, const struct command *c)
{
    struct machine_key keys[MACHINE_KEYS_MAX];
    uint32_t count = machine_needs(c, w->conv, keys);
    for (uint32_t i = 0; i < count; i++)
        if (keys[i].kind == OBJECT_PAGE)
            (void)world_page(w, keys[i].page);
}

/* Decides, with the dedup rows that are asked for, and appends. The verdict is cleared; its scalars stay. */
static inline struct verdict world_do(struct world *w, const struct command *c)
{
    struct verdict v;
    struct dedup_given given[4];
    struct machine_view view;
    uint32_t given_count = 0;
    for (;;) {
        world_load(w, c);
        view = world_view(w);
        view.given = given;
        view.given_count = given_count;
        machine_decide(c, &view, &w->ctx, &v);
        if (v.kind != VERDICT_NEED_ROW)
            break;
        assert_true(given_count < 4);
        struct span row = world_value(w, 'd', v.need_first_id);
        assert_true(row.len > 0);
        given[given_count++] = (struct dedup_given){v.need_first_id, row};
        verdict_clear(&v);
    }
    assert_int_not_equal(v.kind, VERDICT_NEED_OBJECT);
    struct verdict answer = v;
    if (v.kind == VERDICT_EVENTS) {
        uint64_t position = w->end;
        for (uint32_t i = 0; i < v.event_count; i++)
            world_append(w, &v.events[i]);
        machine_decided(&view, &v, position);
    }
    verdict_clear(&v);
    return answer;
}

static inline struct event world_event(struct world *w, uint64_t position)
{
    struct event e;
    struct bytes_reader r =
        bytes_reader_of(w->log + w->where[position - 1], w->log_len - w->where[position - 1]);
    assert_int_equal(event_decode(&r, &e), 0);
    return e;
}

/* Applies one committed event to all that it touches. */
static inline void world_apply(struct world *w, uint64_t position)
{
    struct machine_key keys[MACHINE_KEYS_MAX];
    struct event e = world_event(w, position);
    uint32_t count = machine_touches(&e, keys);
    for (uint32_t i = 0; i < count; i++) {
        int rc = keys[i].kind == OBJECT_PAGE ? machine_apply_page(world_page(w, keys[i].page), &e, position)
                                             : machine_apply_conversation(w->conv, &e, position);
        assert_int_equal(rc, 0);
    }
}

static inline void world_commit(struct world *w, uint64_t below)
{
    for (; w->applied < below && w->applied < w->end; w->applied++)
        world_apply(w, w->applied);
}

static inline void world_write_back_dedup(struct world *w, uint32_t keep)
{
    struct dedup *d = &w->conv->dedup;
    struct dedup_piece piece;
    uint8_t buf[DEDUP_ROW_BYTES_MAX];
    uint64_t at = d->stored;
    while (dedup_piece_at(d, at, &piece)) {
        struct bytes_writer out = bytes_writer_of(buf, sizeof buf);
        dedup_piece_put_row(d, &piece, &out);
        assert_false(out.failed);
        world_write(w, 'd', piece.first_id, (struct span){buf, bytes_writer_len(&out)}, !piece.row_is_new);
        out = bytes_writer_of(buf, sizeof buf);
        dedup_piece_put_filter(d, &piece, &out);
        assert_true(!out.failed && bytes_writer_len(&out) <= DEDUP_OPERAND_BYTES_MAX);
        world_write(w, 'f', piece.segment, (struct span){buf, bytes_writer_len(&out)}, true);
        at = piece.next;
    }
    dedup_stored(d, at, keep);
}

/* All objects, as of now. */
static inline void world_write_back(struct world *w, uint32_t keep)
{
    uint8_t *buf = malloc(1 << 20);
    assert_non_null(buf);
    for (uint32_t i = 0; i < w->conv->chunk_count; i++) {
        struct chunk *c = w->conv->chunks[i];
        world_write(w, 'c', c->first_id, chunk_unstored(c), c->stored_count > 0);
        chunk_stored(c, c->count, c->len, false);
    }
    conversation_forget_stored(w->conv, 1);
    world_write_back_dedup(w, keep);
    if (w->conv->applied.exists) {
        struct bytes_writer out = bytes_writer_of(buf, CONVERSATION_ROW_BYTES_MAX);
        conversation_encode(w->conv, &out);
        assert_false(out.failed);
        world_write(w, 'o', 0, (struct span){buf, bytes_writer_len(&out)}, false);
    }
    for (uint32_t i = 0; i < w->page_count; i++) {
        struct bytes_writer out = bytes_writer_of(buf, 1 << 20);
        page_encode(w->pages[i], &out);
        assert_true(!out.failed && bytes_writer_len(&out) <= page_len_max(w->pages[i]));
        world_write(w, 'p', w->pages[i]->number, (struct span){buf, bytes_writer_len(&out)}, false);
    }
    free(buf);
}

static inline void world_read_back(struct world *w, bool give_tail)
{
    world_drop_objects(w);
    struct span row = world_value(w, 'o', 0);
    if (!row.len) {
        world_objects(w);
        return;
    }
    assert_int_equal(conversation_decode(&w->id, &w->dedup, row, &w->conv), 0);
    struct dedup *d = &w->conv->dedup;
    while (!dedup_loaded(d)) {
        uint64_t segment = d->end / DEDUP_SEGMENT_ORDINALS;
        assert_int_equal(dedup_load_segment(d, segment, world_value(w, 'f', segment)), 0);
    }
    if (give_tail && w->conv->open_chunk_id)
        assert_int_equal(conversation_give_tail(w->conv, world_value(w, 'c', w->conv->open_chunk_id)), 0);
}

/* A crash: what was not committed is gone, and the log is applied from `from` on, over what the store has. */
static inline void world_crash(struct world *w, uint64_t from, bool give_tail)
{
    w->end = w->applied;
    w->log_len = w->end > 1 ? w->log_len : 0;
    world_read_back(w, give_tail);
    w->applied = from;
    world_commit(w, w->end);
}

#endif
