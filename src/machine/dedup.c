#include "src/machine/dedup.h"

#include <string.h>

#include "src/base/error.h"
#include "src/base/memory.h"
#include "src/machine/snowflake.h"

/* Invariants:
 * 1 the index holds exactly the ordinals [base, end), each reachable by linear probing from its tag's slot; without those
 *   of [moved, old_end), which are in the old one, whose other slots count no more
 * 2 rows[] covers [base, end) without a gap; the first may have begun below base
 * 3 base <= stored, tail_from <= stored: what is not in the store is whole in memory
 * 4 applied <= end; end - base <= tag_max <= half of the index
 * While loading, `end` grows up to `applied`, which the bounds gave. */

enum { FIRST_MAX = 16, MOVED_AT_ONCE = 4 /* done long before the next growth */ };

static uint32_t tag_of(const struct id16 *f)
{
    struct bytes_reader r = bytes_reader_of(f->bytes, sizeof f->bytes);
    return bytes_get_u32(&r);
}

static uint32_t slot_mask(const struct dedup *d)
{
    return 2 * d->tag_max - 1;
}

/* The low half of an ordinal, back to the whole: all live ones are within 2^24 above base. */
static uint64_t ordinal_of(const struct dedup *d, uint32_t slot)
{
    return d->base + (uint32_t)(slot - 1 - (uint32_t)d->base);
}

static uint32_t slot_value(uint64_t ordinal)
{
    return (uint32_t)ordinal + 1;
}

static uint32_t *tag_at(const struct dedup *d, uint64_t ordinal)
{
    return &d->tags[ordinal & (d->tag_max - 1)];
}

static struct dedup_entry *entry_at(const struct dedup *d, uint64_t ordinal)
{
    parley_assert(ordinal >= d->tail_from && ordinal < d->end);
    return &d->tail[d->tail_start + (ordinal - d->tail_from)];
}

void dedup_init(struct dedup *d, const struct dedup_options *options)
{
    parley_assert(options->entries_max <= DEDUP_ENTRIES_LIMIT);
    *d = (struct dedup){.options = *options};
}

void dedup_clear(struct dedup *d)
{
    memory_free(d->tags);
    memory_free(d->index);
    memory_free(d->old_index);
    memory_free(d->rows);
    memory_free(d->tail);
    *d = (struct dedup){.options = d->options};
}

static void index_add(struct dedup *d, uint64_t ordinal)
{
    uint32_t mask = slot_mask(d), at = *tag_at(d, ordinal) & mask;
    while (d->index[at])
        at = (at + 1) & mask;
    d->index[at] = slot_value(ordinal);
}

/* The old index ends with the last of them. */
static void move_some(struct dedup *d, uint64_t count)
{
    for (; d->moved < d->old_end && count; count--)
        index_add(d, d->moved++);
    if (!d->old_index || d->moved < d->old_end)
        return;
    memory_free(d->old_index);
    d->old_index = NULL;
    d->moved = d->old_end = 0;
}

/* Takes it out and moves later ones of its run up, so that no tombstones are left. */
static void index_remove(struct dedup *d, uint64_t ordinal)
{
    if (d->old_index && ordinal == d->moved) { /* the oldest: `moved` is never below base */
        d->moved++;
        move_some(d, 0);
        return;
    }
    uint32_t mask = slot_mask(d), hole = *tag_at(d, ordinal) & mask;
    while (d->index[hole] != slot_value(ordinal)) {
        parley_assert(d->index[hole]);
        hole = (hole + 1) & mask;
    }
    for (uint32_t at = (hole + 1) & mask; d->index[at]; at = (at + 1) & mask) {
        uint32_t home = *tag_at(d, ordinal_of(d, d->index[at])) & mask;
        if (((at - home) & mask) >= ((at - hole) & mask)) {
            d->index[hole] = d->index[at];
            hole = at;
        }
    }
    d->index[hole] = 0;
}

static int reserve_tags(struct dedup *d, uint64_t count)
{
    if (count <= d->tag_max)
        return 0;
    if (count > 2ull * DEDUP_ENTRIES_LIMIT)
        return -PARLEY_ERR_NOMEM;
    uint32_t max = d->tag_max ? d->tag_max : FIRST_MAX;
    while (max < count)
        max *= 2;
    uint32_t *tags = memory_alloc(max * sizeof *tags), *index = memory_zalloc(2ull * max * sizeof *index);
    if (!tags || !index) {
        memory_free(tags);
        memory_free(index);
        return -PARLEY_ERR_NOMEM;
    }
    move_some(d, UINT64_MAX);
    for (uint64_t o = d->base; o < d->end; o++)
        tags[o & (max - 1)] = *tag_at(d, o);
    memory_free(d->tags);
    d->old_index = d->index;
    d->old_mask = d->tag_max ? slot_mask(d) : 0;
    d->moved = d->base;
    d->old_end = d->end;
    d->tags = tags;
    d->index = index;
    d->tag_max = max;
    move_some(d, 0);
    return 0;
}

static int reserve_rows(struct dedup *d, uint32_t more)
{
    if (d->row_from && d->row_from + d->row_count + more > d->row_max) {
        memmove(d->rows, d->rows + d->row_from, d->row_count * sizeof *d->rows);
        d->row_from = 0;
    }
    if (d->row_count + more <= d->row_max)
        return 0;
    uint32_t max = d->row_max ? 2 * d->row_max : 4;
    struct dedup_row *rows = memory_realloc(d->rows, max * sizeof *rows);
    if (!rows)
        return -PARLEY_ERR_NOMEM;
    d->rows = rows;
    d->row_max = max;
    return 0;
}

static int reserve_tail(struct dedup *d)
{
    uint32_t count = (uint32_t)(d->end - d->tail_from);
    if (d->tail_start + count < d->tail_max)
        return 0;
    if (d->tail_start >= d->tail_max / 2 && d->tail_start > 0) {
        memmove(d->tail, d->tail + d->tail_start, count * sizeof *d->tail);
        d->tail_start = 0;
        return 0;
    }
    uint32_t max = d->tail_max ? 2 * d->tail_max : 4;
    struct dedup_entry *tail = memory_realloc(d->tail, max * sizeof *tail);
    if (!tail)
        return -PARLEY_ERR_NOMEM;
    d->tail = tail;
    d->tail_max = max;
    return 0;
}

int dedup_reserve(struct dedup *d)
{
    int rc = reserve_tags(d, d->end - d->base + 1);
    if (rc == 0)
        rc = reserve_rows(d, 1);
    return rc ? rc : reserve_tail(d);
}

/* The place in the directory of the row that holds the ordinal. */
static uint32_t row_of(const struct dedup *d, uint64_t ordinal)
{
    uint32_t low = d->row_from, high = d->row_from + d->row_count;
    parley_assert(d->row_count && d->rows[low].first_ordinal <= ordinal);
    while (high - low > 1) {
        uint32_t mid = low + (high - low) / 2;
        if (d->rows[mid].first_ordinal <= ordinal)
            low = mid;
        else
            high = mid;
    }
    return low;
}

static bool last_row_takes(const struct dedup *d, uint64_t id)
{
    if (d->row_count == 0)
        return false;
    const struct dedup_row *last = &d->rows[d->row_from + d->row_count - 1];
    return d->end - last->first_ordinal < DEDUP_ROW_ENTRIES_MAX &&
           snowflake_month(last->first_id) == snowflake_month(id);
}

static void add_tag(struct dedup *d, uint32_t tag)
{
    uint64_t ordinal = d->end++;
    *tag_at(d, ordinal) = tag;
    index_add(d, ordinal);
    move_some(d, MOVED_AT_ONCE);
}

void dedup_add(struct dedup *d, const struct dedup_entry *entry)
{
    if (!last_row_takes(d, entry->id))
        d->rows[d->row_from + d->row_count++] = (struct dedup_row){entry->id, d->end};
    add_tag(d, tag_of(&entry->fingerprint));
    *entry_at(d, d->end - 1) = *entry;
}

/* Forgets whole rows: those whose next row began before the horizon, or that are beyond the count; what the
 * store does not have yet, too: nobody will ask for it. */
static void expire(struct dedup *d, uint64_t id)
{
    uint64_t now = snowflake_ms(id), since = now > d->options.horizon_ms ? now - d->options.horizon_ms : 0;
    while (d->row_count > 1) {
        const struct dedup_row *next = &d->rows[d->row_from + 1];
        if (next->first_ordinal > d->applied)
            return;
        bool too_many = d->applied - next->first_ordinal >= d->options.entries_max;
        bool too_old = snowflake_ms(next->first_id) < since;
        if (!too_many && !too_old)
            return;
        for (; d->base < next->first_ordinal; d->base++)
            index_remove(d, d->base);
        if (d->tail_from < d->base) {
            d->tail_start += (uint32_t)(d->base - d->tail_from);
            d->tail_from = d->base;
        }
        if (d->stored < d->base)
            d->stored = d->base;
        d->row_from++;
        d->row_count--;
    }
}

int dedup_apply(struct dedup *d, const struct dedup_entry *entry)
{
    if (d->applied == d->end) {
        int rc = dedup_reserve(d);
        if (rc)
            return rc;
        dedup_add(d, entry);
    }
    parley_assert(entry_at(d, d->applied)->id == entry->id);
    d->applied++;
    expire(d, entry->id);
    return 0;
}

static void put_entry(struct bytes_writer *w, const struct dedup_entry *e)
{
    bytes_put_id16(w, &e->fingerprint);
    bytes_put_u64(w, e->payload_hash);
    bytes_put_u64(w, e->id);
    bytes_put_u64(w, e->seq);
    bytes_put_u8(w, e->kind);
}

struct dedup_entry dedup_get_entry(struct bytes_reader *r)
{
    struct dedup_entry e = {.fingerprint = bytes_get_id16(r)};
    e.payload_hash = bytes_get_u64(r);
    e.id = bytes_get_u64(r);
    e.seq = bytes_get_u64(r);
    e.kind = bytes_get_u8(r);
    return e;
}

static int find_in_row(const struct dedup_given *given, const struct id16 *fingerprint,
                       struct dedup_entry *found)
{
    if (given->row.len % DEDUP_ENTRY_BYTES || given->row.len > DEDUP_ROW_BYTES_MAX)
        return -PARLEY_ERR_CORRUPT;
    struct bytes_reader r = bytes_reader_of(given->row.data, given->row.len);
    while (!bytes_reader_done(&r)) {
        struct dedup_entry e = dedup_get_entry(&r);
        if (e.id < given->first_id)
            return -PARLEY_ERR_CORRUPT;
        if (memcmp(&e.fingerprint, fingerprint, sizeof e.fingerprint) == 0) {
            *found = e;
            return DEDUP_FOUND;
        }
    }
    return DEDUP_NEW;
}

struct search {
    const struct id16 *fingerprint;
    uint32_t tag;
    const struct dedup_given *given;
    uint32_t given_count;
    struct dedup_entry *found;
    uint64_t *need_first_id;
};

/* One ordinal with the right tag: is it the one? */
static int confirm(const struct dedup *d, uint64_t ordinal, const struct search *s)
{
    if (ordinal >= d->tail_from) {
        const struct dedup_entry *e = entry_at(d, ordinal);
        if (memcmp(&e->fingerprint, s->fingerprint, sizeof *s->fingerprint) != 0)
            return DEDUP_NEW;
        *s->found = *e;
        return DEDUP_FOUND;
    }
    uint64_t first_id = d->rows[row_of(d, ordinal)].first_id;
    for (uint32_t i = 0; i < s->given_count; i++)
        if (s->given[i].first_id == first_id)
            return find_in_row(&s->given[i], s->fingerprint, s->found);
    *s->need_first_id = first_id;
    return DEDUP_NEED_ROW;
}

/* Of what the index holds, ordinals [from, to) count. */
static int probe(const struct dedup *d, const uint32_t *index, uint32_t mask, uint64_t from, uint64_t to,
                 const struct search *s)
{
    int answer = DEDUP_NEW;
    for (uint32_t at = s->tag & mask; index[at]; at = (at + 1) & mask) {
        uint64_t ordinal = ordinal_of(d, index[at]);
        if (ordinal < from || ordinal >= to || *tag_at(d, ordinal) != s->tag)
            continue;
        int rc = confirm(d, ordinal, s);
        if (rc == DEDUP_FOUND || rc < 0)
            return rc;
        if (rc == DEDUP_NEED_ROW)
            answer = rc; /* another candidate may still be exact */
    }
    return answer;
}

int dedup_find(const struct dedup *d, const struct id16 *fingerprint, const struct dedup_given *given,
               uint32_t given_count, struct dedup_entry *found,
               uint64_t *need_first_id) /* NOLINT(readability-non-const-parameter): the search writes it */
{
    if (d->base == d->end)
        return DEDUP_NEW;
    struct search s = {fingerprint, tag_of(fingerprint), given, given_count, found, need_first_id};
    int answer = probe(d, d->index, slot_mask(d), d->base, d->end, &s);
    if (!d->old_index || answer == DEDUP_FOUND || answer < 0)
        return answer;
    int older = probe(d, d->old_index, d->old_mask, d->moved, d->old_end, &s);
    return older == DEDUP_NEW ? answer : older;
}

bool dedup_piece_at(const struct dedup *d, uint64_t from, struct dedup_piece *out)
{
    if (from >= d->applied)
        return false;
    parley_assert(from >= d->base && from >= d->tail_from);
    uint32_t row = row_of(d, from);
    uint64_t segment = from / DEDUP_SEGMENT_ORDINALS, next = (segment + 1) * DEDUP_SEGMENT_ORDINALS;
    if (row + 1 < d->row_from + d->row_count && d->rows[row + 1].first_ordinal < next)
        next = d->rows[row + 1].first_ordinal;
    if (d->applied < next)
        next = d->applied;
    *out =
        (struct dedup_piece){.first_id = d->rows[row].first_id,
                             .from = from,
                             .next = next,
                             .row_is_new = d->rows[row].first_ordinal == from,
                             .segment = segment,
                             .segment_whole = from / DEDUP_SEGMENT_REWRITE != next / DEDUP_SEGMENT_REWRITE};
    return true;
}

void dedup_piece_put_row(const struct dedup *d, const struct dedup_piece *piece, struct bytes_writer *w)
{
    for (uint64_t o = piece->from; o < piece->next; o++)
        put_entry(w, entry_at(d, o));
}

static void put_operand(const struct dedup *d, uint64_t first_id, uint64_t from, uint64_t next,
                        struct bytes_writer *w)
{
    bytes_put_u64(w, first_id);
    bytes_put_u64(w, from);
    bytes_put_u16(w, (uint16_t)(next - from));
    for (uint64_t o = from; o < next; o++)
        bytes_put_u32(w, *tag_at(d, o));
}

void dedup_piece_put_filter(const struct dedup *d, const struct dedup_piece *piece, struct bytes_writer *w)
{
    put_operand(d, piece->first_id, piece->from, piece->next, w);
}

void dedup_piece_put_segment(const struct dedup *d, const struct dedup_piece *piece, struct bytes_writer *w)
{
    uint64_t from = piece->segment * DEDUP_SEGMENT_ORDINALS;
    uint32_t end = d->row_from + d->row_count;
    if (from < d->base)
        from = d->base;
    for (uint32_t row = row_of(d, from); from < piece->next; row++) {
        uint64_t next = row + 1 < end ? d->rows[row + 1].first_ordinal : piece->next;
        if (next > piece->next)
            next = piece->next;
        put_operand(d, d->rows[row].first_id, from, next, w);
        from = next;
    }
}

void dedup_stored(struct dedup *d, uint64_t below, uint32_t keep)
{
    parley_assert(below <= d->applied);
    if (d->stored < below)
        d->stored = below;
    uint64_t evict = d->end - d->tail_from > keep ? d->end - keep : d->tail_from;
    if (evict > d->stored)
        evict = d->stored;
    if (evict > d->tail_from) {
        d->tail_start += (uint32_t)(evict - d->tail_from);
        d->tail_from = evict;
    }
}

void dedup_bounds_stored(struct dedup *d)
{
    d->stored_base = d->base;
}

void dedup_stale_segments(const struct dedup *d, uint64_t *from, uint64_t *to)
{
    *from = d->stored_base / DEDUP_SEGMENT_ORDINALS;
    *to = d->base / DEDUP_SEGMENT_ORDINALS;
}

size_t dedup_bytes(const struct dedup *d)
{
    return 3ull * d->tag_max * sizeof *d->tags + (d->old_index ? d->old_mask * sizeof *d->old_index : 0) +
           d->row_max * sizeof *d->rows + d->tail_max * sizeof *d->tail;
}

void dedup_put_bounds(const struct dedup *d, struct bytes_writer *w)
{
    bytes_put_varint(w, d->base);
    bytes_put_varint(w, d->applied);
}

int dedup_get_bounds(struct dedup *d, struct bytes_reader *r)
{
    uint64_t base = bytes_get_varint(r), applied = bytes_get_varint(r);
    if (r->failed || base > applied || applied - base > 2ull * DEDUP_ENTRIES_LIMIT)
        return -PARLEY_ERR_CORRUPT;
    parley_assert(d->end == 0);
    d->base = d->end = d->stored_base = base;
    d->applied = d->stored = d->tail_from = applied;
    return 0;
}

bool dedup_loaded(const struct dedup *d)
{
    return d->end >= d->applied;
}

/* One operand. Tags below base are of rows that are forgotten. */
static int load_operand(struct dedup *d, uint64_t segment, struct bytes_reader *r)
{
    uint64_t first_id = bytes_get_u64(r), ordinal = bytes_get_u64(r);
    uint32_t count = bytes_get_u16(r);
    if (r->failed || first_id == 0 || count == 0 || count > DEDUP_ROW_ENTRIES_MAX ||
        ordinal / DEDUP_SEGMENT_ORDINALS != segment)
        return -PARLEY_ERR_CORRUPT;
    uint64_t last_id = d->row_count ? d->rows[d->row_from + d->row_count - 1].first_id : 0;
    if (ordinal + count > d->base) {
        if ((ordinal > d->end) || (ordinal > d->base && ordinal != d->end) || ordinal + count > d->applied ||
            first_id < last_id)
            return -PARLEY_ERR_CORRUPT;
        if (reserve_rows(d, 1) || reserve_tags(d, d->applied - d->base))
            return -PARLEY_ERR_NOMEM;
        if (first_id != last_id)
            d->rows[d->row_from + d->row_count++] = (struct dedup_row){first_id, ordinal};
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t tag = bytes_get_u32(r);
        if (r->failed)
            return -PARLEY_ERR_CORRUPT;
        if (ordinal + i == d->end)
            add_tag(d, tag);
    }
    return 0;
}

/* After an error only dedup_clear may follow: the object is loaded again. */
int dedup_load_segment(struct dedup *d, uint64_t segment, struct span row)
{
    if (d->end / DEDUP_SEGMENT_ORDINALS != segment || dedup_loaded(d))
        return -PARLEY_ERR_CORRUPT;
    struct bytes_reader r = bytes_reader_of(row.data, row.len);
    while (!bytes_reader_done(&r)) {
        int rc = load_operand(d, segment, &r);
        if (rc)
            return rc;
    }
    uint64_t top = (segment + 1) * DEDUP_SEGMENT_ORDINALS;
    return d->end == (d->applied < top ? d->applied : top) ? 0 : -PARLEY_ERR_CORRUPT;
}
