/* Ids, texts, events, pages and chunks: what goes to disk comes back, and damage is told. */
#include "tests/unit/machine_world.h"

#include "src/base/utf8.h"

static void text_is_strict(void **state)
{
    (void)state;
    static const char *good[] = {"",
                                 "plain ascii, long enough for words",
                                 "\xc2\xa2",
                                 "\xe2\x82\xac",
                                 "\xf0\x90\x8d\x88",
                                 "\xed\x9f\xbf",
                                 "\xef\xbf\xbf",
                                 "\xf4\x8f\xbf\xbf",
                                 "12345678\xc3\xa4"};
    static const char *bad[] = {"\x80",         "\xc0\x80",         "\xc1\xbf",         "\xe0\x9f\xbf",
                                "\xed\xa0\x80", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80",
                                "\xe2\x82",     "1234567\xff",      "12345678\xc3",     "\xf0\x90\x8d",
                                "\xc3("};
    for (size_t i = 0; i < PARLEY_ARRAY_COUNT(good); i++)
        assert_true(utf8_valid(text(good[i])));
    for (size_t i = 0; i < PARLEY_ARRAY_COUNT(bad); i++)
        assert_false(utf8_valid(text(bad[i])));
}

static void ids_rise_when_the_clock_goes_back(void **state)
{
    (void)state;
    struct snowflake s;
    snowflake_init(&s, 5, 0);
    uint64_t now = SNOWFLAKE_EPOCH_MS + 3600000 * 10, last = 0, seed = 1;
    for (int i = 0; i < 20000; i++) {
        if (i == 5000)
            now -= 3600000;
        now += dice(&seed, 50) == 0;
        uint64_t ceiling = snowflake_ceiling(&s, now, dice(&seed, 3));
        uint64_t id = dice(&seed, 9) ? snowflake_next(&s, now) : snowflake_announce(&s, now, ceiling);
        if (i < 10 && id == 0)
            continue;
        assert_true(snowflake_shard(id) == 5 || (id & 0x3fffff) == 0x3fffff);
        if ((id & 0x3fffff) != 0x3fffff) {
            assert_true(id > last);
            last = id;
        } else {
            assert_true(id <= ceiling);
            last = id > last ? id : last;
        }
    }
    uint64_t ceiling = snowflake_ceiling(&s, now, 10);
    assert_true(ceiling >= last);
    snowflake_init(&s, 1023, ceiling);
    assert_true(snowflake_next(&s, 0) > ceiling);
    snowflake_init(&s, 0, ceiling);
    assert_true(snowflake_next(&s, 0) > ceiling);
    assert_int_equal(snowflake_announce(&s, now, 0), 0);
}

static void months_are_those_of_the_calendar(void **state)
{
    (void)state;
    static const struct {
        uint64_t s;
        uint32_t month;
    } at[] = {{1577836800, 2020 * 12},
              {1582934399, 2020 * 12 + 1},
              {1583020800, 2020 * 12 + 2},
              {1609459199, 2020 * 12 + 11},
              {1609459200, 2021 * 12}};
    for (size_t i = 0; i < PARLEY_ARRAY_COUNT(at); i++)
        assert_int_equal(snowflake_month((at[i].s * 1000 - SNOWFLAKE_EPOCH_MS) << 22), at[i].month);
}

static size_t sample_members(uint8_t *buf, size_t len, uint32_t count, bool with_interval)
{
    struct bytes_writer w = bytes_writer_of(buf, len);
    for (uint32_t i = 0; i < count; i++) {
        char name[16];
        snprintf(name, sizeof name, "user%u", i);
        struct id16 hash = user_hash(text(name));
        memset(hash.bytes + 8, i % 2 ? 0xff : 0, 8);
        if (!with_interval) {
            member_put_new(&w, &hash, ROLE_MEMBER, text(name));
            continue;
        }
        struct member_view v = {.hash = hash, .role = ROLE_ADMIN, .user = text(name)};
        struct member m;
        assert_int_equal(member_of_view(&m, &v), 0);
        for (uint64_t j = 1; j < 9; j += 2) {
            assert_int_equal(member_join(&m, j), 0);
            member_leave(&m, j + 1);
        }
        member_put(&w, &m);
        member_clear(&m);
    }
    assert_false(w.failed);
    return bytes_writer_len(&w);
}

static struct event sample_event(enum event_kind kind, uint8_t *members, size_t len)
{
    struct event e = {.kind = kind,
                      .id = 77,
                      .time_ms = 1234567890123,
                      .conversation = {{1, 2, 3}},
                      .actor = text("alice"),
                      .client_id = text("c-1"),
                      .fingerprint = {{9}},
                      .payload_hash = 42,
                      .type = CONVERSATION_GROUP,
                      .title = text("T\xc3\xa4ig"),
                      .page_count = 2,
                      .member_count = 3,
                      .target = text("bob"),
                      .target_hash = {{8}},
                      .page = 1,
                      .role = ROLE_ADMIN,
                      .former = ROLE_MEMBER,
                      .from_page = 0,
                      .to_page = 1,
                      .seq = 5,
                      .sender_tag = 99,
                      .read_seq = 3,
                      .delivered_seq = 4,
                      .created_at_ms = 9,
                      .device = text("phone"),
                      .content_type = text("text/plain"),
                      .body = text("hello"),
                      .display_name = text("Alice")};
    e.members = (struct span){members, sample_members(members, len, 3, kind == EVENT_SPLIT)};
    return e;
}

static void events_come_back_and_truncation_is_told(void **state)
{
    (void)state;
    for (unsigned kind = EVENT_TICK; kind < EVENT_KIND_END; kind++) {
        uint8_t members[1024], buf[2048], again[2048];
        struct event e = sample_event((enum event_kind)kind, members, sizeof members), back;
        struct bytes_writer w = bytes_writer_of(buf, sizeof buf), w2 = bytes_writer_of(again, sizeof again);
        event_encode(&w, &e);
        size_t len = bytes_writer_len(&w);
        assert_true(!w.failed && len <= event_len_max(&e));
        struct bytes_reader r = bytes_reader_of(buf, len);
        assert_int_equal(event_decode(&r, &back), 0);
        assert_true(bytes_reader_done(&r));
        event_encode(&w2, &back);
        assert_int_equal(bytes_writer_len(&w2), len);
        assert_memory_equal(buf, again, len);
        for (size_t cut = 0; cut < len; cut++) {
            uint8_t *exact = malloc(cut + 1);
            assert_non_null(exact);
            memcpy(exact, buf, cut);
            r = bytes_reader_of(exact, cut);
            assert_int_equal(event_decode(&r, &back), -PARLEY_ERR_CORRUPT);
            free(exact);
        }
        for (size_t i = 0; i < len * 8; i++) { /* any answer, no crash */
            buf[i / 8] ^= (uint8_t)(1 << i % 8);
            r = bytes_reader_of(buf, len);
            (void)!event_decode(&r, &back);
            buf[i / 8] ^= (uint8_t)(1 << i % 8);
        }
    }
}

static void bad_fields_of_events_are_refused(void **state)
{
    (void)state;
    uint8_t members[1024], buf[2048];
    for (int i = 0; i < 7; i++) {
        struct event e = sample_event(i < 4 ? EVENT_MESSAGE : EVENT_ADDED, members, sizeof members), back;
        if (i == 0)
            e.body = text("\xff");
        if (i == 1)
            e.seq = 0;
        if (i == 2)
            e.actor = text("");
        if (i == 3)
            e.id = 0;
        if (i == 4)
            e.role = (enum member_role)5;
        if (i == 5)
            e.target = text("\xc0\x80");
        if (i == 6)
            e.page = PAGE_COUNT_MAX;
        struct bytes_writer w = bytes_writer_of(buf, sizeof buf);
        event_encode(&w, &e);
        struct bytes_reader r = bytes_reader_of(buf, bytes_writer_len(&w));
        assert_int_equal(event_decode(&r, &back), -PARLEY_ERR_CORRUPT);
    }
}

static struct message sample_message(uint64_t id, uint64_t seq, const char *body)
{
    return (struct message){.id = id,
                            .seq = seq,
                            .time_ms = 5,
                            .sender = text("alice"),
                            .client_id = text("c"),
                            .device = text("d"),
                            .content_type = text("text/plain"),
                            .body = text(body)};
}

static void chunks_are_their_own_rows(void **state)
{
    (void)state;
    struct chunk *c = NULL, *back = NULL;
    assert_int_equal(chunk_create(&c), 0);
    struct message m, got;
    for (uint64_t i = 1; i <= CHUNK_MESSAGES_MAX; i++) {
        m = sample_message(i * 10, i + 6, "some body");
        assert_true(chunk_fits(c, &m));
        assert_int_equal(chunk_append(c, &m), 0);
        if (i == 20)
            chunk_stored(c, 20, c->len, false);
    }
    m = sample_message(9999, 71, "x");
    assert_false(chunk_fits(c, &m));
    uint8_t *joined = malloc(c->len);
    assert_non_null(joined);
    memcpy(joined, c->bytes, c->stored_len);
    memcpy(joined + c->stored_len, chunk_unstored(c).data, chunk_unstored(c).len);
    assert_int_equal(chunk_decode((struct span){joined, c->len}, &back), 0);
    assert_int_equal(back->count, CHUNK_MESSAGES_MAX);
    assert_int_equal(chunk_find_seq(chunk_row(back), 7, &got), 0);
    assert_int_equal(got.id, 10);
    assert_int_equal(chunk_find_id(chunk_row(back), 640, &got), 0);
    assert_true(got.seq == 70 && got.body.len == 9);
    assert_int_equal(chunk_find_id(chunk_row(back), 641, &got), -PARLEY_ERR_NOT_FOUND);
    for (size_t cut = 0; cut < c->len; cut++) {
        struct chunk *part = NULL;
        uint8_t *exact = malloc(cut + 1);
        assert_non_null(exact);
        memcpy(exact, joined, cut);
        int rc = chunk_decode((struct span){exact, cut}, &part);
        assert_true(rc == 0 ? part->len == cut : rc == -PARLEY_ERR_CORRUPT);
        chunk_destroy(&part);
        free(exact);
    }
    uint64_t seed = 3;
    for (int i = 0; i < 3000; i++) {
        size_t at = dice(&seed, c->len);
        uint8_t was = joined[at];
        joined[at] = (uint8_t)dice(&seed, 256);
        struct chunk *part = NULL;
        (void)!chunk_decode((struct span){joined, c->len}, &part);
        chunk_destroy(&part);
        joined[at] = was;
    }
    free(joined);
    chunk_destroy(&back);
    chunk_destroy(&c);
}

static void a_chunk_ends_with_its_month_and_its_bytes(void **state)
{
    (void)state;
    struct chunk *c = NULL;
    assert_int_equal(chunk_create(&c), 0);
    struct message m = sample_message(1, 1, "x");
    assert_int_equal(chunk_append(c, &m), 0);
    m = sample_message((31ull * 86400000) << 22, 2, "x");
    assert_false(chunk_fits(c, &m));
    m.id = ((31ull * 86400000) << 22) - 1;
    assert_true(chunk_fits(c, &m));
    m.body.len = 0;
    static uint8_t big[CHUNK_BYTES_MAX];
    m.body = (struct span){big, sizeof big};
    assert_false(chunk_fits(c, &m));
    chunk_destroy(&c);
    assert_int_equal(chunk_create(&c), 0);
    assert_true(chunk_fits(c, &m));
    assert_int_equal(chunk_append(c, &m), 0);
    chunk_destroy(&c);
}

static void pages_come_back_and_truncation_is_told(void **state)
{
    (void)state;
    uint8_t members[16384];
    static uint8_t buf[65536];
    struct id16 id = {{7}};
    struct page *page = NULL, *back = NULL;
    assert_int_equal(page_create(&id, 0, &page), 0);
    struct event e = sample_event(EVENT_CREATED, members, sizeof members);
    e.member_count = 20;
    e.page_count = 1;
    e.members = (struct span){members, sample_members(members, sizeof members, 20, true)};
    assert_int_equal(page_apply(page, &e, 9), 0);
    struct bytes_writer w = bytes_writer_of(buf, sizeof buf);
    page_encode(page, &w);
    size_t len = bytes_writer_len(&w);
    assert_int_equal(page_decode(&id, 0, (struct span){buf, len}, &back), 0);
    assert_true(back->position == 9 && back->applied->count == 20 && page_active_count(back->applied) == 0);
    struct id16 hash = back->applied->list[3].hash;
    const struct member *m = page_find(page_view(back), &hash);
    assert_true(m && m->interval_count == 4 && member_covers(m, 3) && member_covers(m, 8) &&
                !member_covers(m, 9));
    page_destroy(&back);
    for (size_t cut = 0; cut < len; cut++)
        assert_int_equal(page_decode(&id, 0, (struct span){buf, cut}, &back), -PARLEY_ERR_CORRUPT);
    page_destroy(&page);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_is_strict),
        cmocka_unit_test(ids_rise_when_the_clock_goes_back),
        cmocka_unit_test(months_are_those_of_the_calendar),
        cmocka_unit_test(events_come_back_and_truncation_is_told),
        cmocka_unit_test(bad_fields_of_events_are_refused),
        cmocka_unit_test(chunks_are_their_own_rows),
        cmocka_unit_test(a_chunk_ends_with_its_month_and_its_bytes),
        cmocka_unit_test(pages_come_back_and_truncation_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
