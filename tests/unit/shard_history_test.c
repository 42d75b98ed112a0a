/* Pages of history against what was sent, whatever is in memory, in the store, or on its way between them. */
#include "src/shard/history.h"
#include "tests/unit/shard_world.h"

/* A read under way, and what it must answer. */
struct reader {
    struct shard_request request;
    bool answered;
    uint32_t floor; /* so many were acknowledged when it was asked */
};

/* How many of the first `count` messages have an id below. Messages of a test are sent one after the other. */
static uint32_t count_below(const struct world *w, uint32_t count, uint64_t id)
{
    uint32_t n = 0;
    while (n < count && w->sends[n].id < id)
        n++;
    return n;
}

static struct history_query random_query(struct world *w)
{
    uint32_t count = w->send_count;
    struct history_query q = {(enum history_way)dice(w, 3), 0, 1 + (uint32_t)dice(w, HISTORY_LIMIT_MAX)};
    if (dice(w, 4) == 0)
        q.limit = 1 + (uint32_t)dice(w, 4);
    q.from = w->sends[dice(w, count)].id + dice(w, 3) - 1;
    if (dice(w, 8) == 0)
        q.from = dice(w, 2) ? UINT64_MAX : 0;
    return q;
}

/* Where in the world's sends the page begins, and how long it may be: [*first, *end) is the most that fits. */
static void expected(const struct world *w, const struct history_query *q, uint32_t count, uint32_t *first,
                     uint32_t *end)
{
    uint32_t at = count_below(w, count, q->from);
    bool there = at < count && w->sends[at].id == q->from;
    uint32_t older = q->limit / 2, newer = q->limit - older;
    switch (q->way) {
    case HISTORY_BEFORE:
        *end = q->from ? at : count;
        *first = *end > q->limit ? *end - q->limit : 0;
        break;
    case HISTORY_AFTER:
        *first = at + there;
        *end = count - *first > q->limit ? *first + q->limit : count;
        break;
    case HISTORY_AROUND:
        *first = at > older ? at - older : 0;
        *end = count - at > newer ? at + newer : count;
        break;
    }
}

static void check_page(struct world *w, struct reader *r)
{
    struct shard_request *q = &r->request;
    struct chunk_cursor at = chunk_begin((struct span){q->page.entries, q->page.len});
    struct message m;
    uint32_t first = 0, end = 0, count = 0, from = 0, limit = q->history.limit;
    assert_int_equal(q->error, 0);
    for (; chunk_next(&at, &m) == 0; count++) {
        uint32_t number = (uint32_t)(check_message(w, &m) - w->sends);
        if (count == 0)
            from = number;
        assert_int_equal(number, from + count); /* no gap, no repeat */
    }
    assert_int_equal(count, q->page.count);
    assert_true(count <= limit);
    /* What was sent meanwhile may be in it, or not. */
    expected(w, &q->history, r->floor, &first, &end);
    bool grows = q->history.way != HISTORY_BEFORE || q->history.from == 0 || q->history.from == UINT64_MAX;
    if (count == 0) {
        assert_int_equal(first, end);
    } else if (q->history.way == HISTORY_AFTER) {
        assert_int_equal(from, first);
        assert_true(from + count >= end);
        assert_true(q->page.newer || from + count >= r->floor);
    } else if (!grows || r->floor == w->send_count) {
        assert_int_equal(from, first);
        assert_int_equal(count, end - first);
        assert_int_equal(q->page.older, from > 0);
    } else {
        assert_true(from >= first && from + count >= end);
        assert_int_equal(q->page.older, from > 0);
    }
    if (q->history.way == HISTORY_AROUND && !q->page.newer && count > 0)
        assert_true(from + count >= r->floor);
    memory_free(q->page.entries);
    q->page.entries = NULL;
}

static void start_reading(struct world *w, struct reader *r)
{
    *r = (struct reader){.floor = w->send_count};
    while (r->floor > 0 && !w->sends[r->floor - 1].acked)
        r->floor--;
    r->request = (struct shard_request){.command = by(names[dice(w, USERS)], ""),
                                        .done = keep_answer,
                                        .kind = SHARD_HISTORY,
                                        .history = random_query(w),
                                        .owner = &r->answered};
    r->request.command.conversation = w->conversation;
    shard_submit(w->shard, &r->request);
}

static void pages_of_what_rests(void **state)
{
    struct world *w = *state;
    struct reader r;
    assert_int_equal(create_group(w, "creation-1", NULL), 0);
    for (int round = 0; round < 6; round++) {
        w->options.memory_bytes_max = round % 2 ? 0 : 1 << 20;
        sim_store_set(&(struct sim_store_odds){round % 3 ? 300 : 20, 100, 500, 400}, (uint64_t)round);
        world_restart(w);
        send_in_order(w, 130, round == 3 ? 700 : 0);
        for (int i = 0; i < 150; i++) {
            start_reading(w, &r);
            settle(w);
            assert_true(r.answered);
            check_page(w, &r);
        }
    }
}

/* Sends, write-back, eviction and reads at once. */
static void pages_while_everything_moves(void **state)
{
    enum { READERS = 8 };
    struct world *w = *state;
    static struct reader readers[READERS];
    memset(readers, 0, sizeof readers);
    struct id16 other, mine;
    assert_int_equal(create_group(w, "creation-2", NULL), 0);
    other = w->conversation;
    assert_int_equal(create_group(w, "creation-1", NULL), 0);
    mine = w->conversation;
    w->options.memory_bytes_max = 0;
    sim_store_set(&(struct sim_store_odds){300, 100, 600, 150}, 5);
    world_restart(w);
    send_in_order(w, 150, 0);
    for (int step = 0; step < 12000; step++) {
        if (w->send_count < 3000 && w->sends[w->send_count - 1].acked && dice(w, 3) == 0)
            submit_send(w, new_send_of(w, dice(w, 20) ? 0 : 6000));
        struct sent *last = &w->sends[w->send_count - 1];
        if (last->answered && !last->acked) /* it was full */
            submit_send(w, last);
        struct reader *r = &readers[dice(w, READERS)];
        if (r->answered)
            check_page(w, r);
        if (r->answered || !r->request.done)
            start_reading(w, r);
        turn(w);
        if (dice(w, 200) == 0)
            clock_manual_advance(&w->clock, 3600ull * 1000000000 * dice(w, 20));
        if (step == 6000 || step == 9000) { /* through a crash too */
            for (int i = 0; i < READERS; i++)
                readers[i].answered = readers[i].answered || !readers[i].request.done;
            settle(w);
            for (int i = 0; i < READERS; i++)
                if (readers[i].request.page.entries)
                    check_page(w, &readers[i]);
            memset(readers, 0, sizeof readers);
            world_crash(w, 0);
        }
    }
    settle(w);
    for (int i = 0; i < READERS; i++)
        if (readers[i].answered)
            check_page(w, &readers[i]);
    assert_true(counters(w).evictions > 100);
    assert_true(w->send_count > 1000);
    (void)other, (void)mine;
    check_conversation(w);
}

/* Many chunks are in several batches at once: what memory gives up is in the store already. */
static void pages_while_batches_fly(void **state)
{
    struct world *w = *state;
    struct reader r;
    w->options.dirty_bytes_max = 8 << 20;
    w->options.segment_bytes = 1 << 20;
    w->options.log_bytes_max = 64 << 20;
    w->options.memory_bytes_max = 0;
    world_restart(w);
    assert_int_equal(create_group(w, "creation-1", NULL), 0);
    sim_store_set(&(struct sim_store_odds){60, 100, 300, 1000}, 5);
    for (int round = 0; round < 150; round++) {
        uint32_t from = w->send_count;
        for (int i = 0; i < 14; i++)
            submit_send(w, new_send_of(w, 5000));
        for (int i = 0; i < 3; i++)
            turn(w);
        for (int reads = 0; reads < 2; reads++) {
            settle(w);
            start_reading(w, &r);
            for (int i = 0; i < 300 && !r.answered; i++)
                turn(w);
            assert_true(r.answered);
            check_page(w, &r);
        }
        for (uint32_t i = from; i < w->send_count; i++)
            assert_true(w->sends[i].acked);
    }
    check_conversation(w);
}

static void pages_over_months(void **state)
{
    struct world *w = *state;
    struct reader r;
    w->options.dedup.horizon_ms = 400ull * 86400 * 1000;
    world_restart(w);
    assert_int_equal(create_group(w, "creation-1", NULL), 0);
    for (int month = 0; month < 5; month++) {
        send_in_order(w, 50 + (uint32_t)dice(w, 40), 0);
        clock_manual_advance(&w->clock, 40ull * 86400 * 1000000000);
        rest(w);
    }
    w->options.memory_bytes_max = 0;
    sim_store_set(&rough, 5);
    world_restart(w);
    check_conversation(w);
    for (int i = 0; i < 500; i++) {
        start_reading(w, &r);
        settle(w);
        check_page(w, &r);
    }
}

/* Pages that end at the limit of bytes say so, and the next one goes on from there. */
static void large_messages_make_short_pages(void **state)
{
    struct world *w = *state;
    w->options.dirty_bytes_max = 1 << 20;
    w->options.log_bytes_max = 16 << 20;
    world_restart(w);
    assert_int_equal(create_group(w, "creation-1", NULL), 0);
    for (int i = 0; i < 150; i++)
        send_one(w, 15000 + dice(w, 12000));
    sim_store_set(&rough, 5);
    for (int way = 0; way < 2; way++) {
        uint64_t from = 0;
        uint32_t seen = 0, pages = 0;
        for (bool more = true; more; pages++) {
            struct history_query q = {way ? HISTORY_AFTER : HISTORY_BEFORE, from, HISTORY_LIMIT_MAX};
            struct shard_page page;
            struct message m;
            uint64_t first = 0, last = 0;
            assert_int_equal(read_as_ann(w, SHARD_HISTORY, q, "", &page), 0);
            struct chunk_cursor at = chunk_begin((struct span){page.entries, page.len});
            for (uint32_t i = 0; chunk_next(&at, &m) == 0; i++) {
                uint32_t number = (uint32_t)(check_message(w, &m) - w->sends);
                assert_int_equal(number, way ? seen + i : 150 - seen - page.count + i);
                first = first ? first : m.id;
                last = m.id;
            }
            assert_true(page.len <= HISTORY_BYTES_MAX && page.count > 0);
            seen += page.count;
            from = way ? last : first;
            more = way ? page.newer : page.older;
            memory_free(page.entries);
        }
        assert_int_equal(seen, 150);
        assert_in_range(pages, 3, 6);
    }
}

static void an_empty_conversation_has_empty_pages(void **state)
{
    struct world *w = *state;
    struct shard_page page;
    assert_int_equal(create_group(w, "creation-1", NULL), 0);
    for (int way = HISTORY_BEFORE; way <= HISTORY_AROUND; way++) {
        struct history_query q = {(enum history_way)way, 0, 10};
        assert_int_equal(read_as_ann(w, SHARD_HISTORY, q, "", &page), 0);
        assert_int_equal(page.count, 0);
        assert_false(page.older || page.newer);
        memory_free(page.entries);
    }
}

static void around_one_is_one(void **state)
{
    struct world *w = *state;
    struct shard_page page;
    struct message m;
    assert_int_equal(create_group(w, "creation-1", NULL), 0);
    send_in_order(w, 3, 0);
    assert_int_equal(
        read_as_ann(w, SHARD_HISTORY, (struct history_query){HISTORY_AROUND, w->sends[1].id, 1}, "", &page),
        0);
    assert_int_equal(page.count, 1);
    assert_true(page.older && page.newer);
    struct chunk_cursor at = chunk_begin((struct span){page.entries, page.len});
    assert_int_equal(chunk_next(&at, &m), 0);
    assert_int_equal(m.id, w->sends[1].id);
    memory_free(page.entries);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_A_SHARD(pages_of_what_rests),
        ON_A_SHARD(pages_while_everything_moves),
        ON_A_SHARD(pages_while_batches_fly),
        ON_A_SHARD(pages_over_months),
        ON_A_SHARD(large_messages_make_short_pages),
        ON_A_SHARD(an_empty_conversation_has_empty_pages),
        ON_A_SHARD(around_one_is_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
