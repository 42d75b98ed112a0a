/* src/machine/page.h and member.h: a hostile row is refused or is written again as it was, and answers as its members say;
 * an event from the rest of the
 * input, whatever it is, leaves its members in order. */
#include "src/machine/page.h"
#include "src/base/error.h"
#include "tests/fuzz/fuzz.h"

static const struct id16 conversation = {{1}};

static void check_row(const struct page *page, struct span row)
{
    size_t room = page_len_max(page);
    uint8_t *again = malloc(room);
    parley_assert(again);
    struct bytes_writer w = bytes_writer_of(again, room);
    page_encode(page, &w);
    parley_assert(!w.failed);
    parley_assert(fuzz_same(row, (struct span){again, bytes_writer_len(&w)}));
    free(again);
}

static void check_intervals(const struct member *m)
{
    const struct member_interval *spans = member_intervals(m);
    for (uint32_t i = 0; i < m->interval_count; i++)
        parley_assert(member_covers(m, spans[i].joined) &&
                      member_covers(m, spans[i].left ? spans[i].left : UINT64_MAX));
}

static void check_members(const struct page_members *members)
{
    uint32_t active = 0;
    for (uint32_t i = 0; i < members->count; i++) {
        const struct member *m = &members->list[i];
        parley_assert(i == 0 || memcmp(m[-1].hash.bytes, m->hash.bytes, sizeof m->hash) < 0);
        parley_assert(page_find(members, &m->hash) == m);
        active += member_active(m);
    }
    parley_assert(page_active_count(members) == active);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct bytes_reader r = bytes_reader_of(data, len);
    uint32_t number = fuzz_below(&r, 4);
    size_t row_len = bytes_get_u16(&r), left = (size_t)(r.end - r.at);
    struct span row = bytes_get_raw(&r, row_len < left ? row_len : left);
    struct page *page = NULL;
    struct event event;
    int err = page_decode(&conversation, number, row, &page);
    parley_assert(err == 0 || err == -PARLEY_ERR_CORRUPT);
    if (err)
        return 0;
    check_row(page, row);
    check_members(page->applied);
    for (uint32_t i = 0; i < page->applied->count; i++)
        check_intervals(&page->applied->list[i]);
    if (event_decode(&r, &event) == 0 && page->position < UINT64_MAX) {
        err = page_apply(page, &event, page->position + 1);
        parley_assert(err == 0 || err == -PARLEY_ERR_CORRUPT);
        check_members(page->applied);
    }
    page_destroy(&page);
    return 0;
}
