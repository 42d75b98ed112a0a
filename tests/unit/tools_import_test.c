/* What an import is made of: lines, times, the plan, the queue that keeps the order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <stdio.h>
#include <unistd.h>
#include <zlib.h>

#include "src/base/error.h"
#include "src/base/memory.h"
#include "src/base/rfc3339.h"
#include "tools/client/text.h"
#include "tools/commands/import_line.h"
#include "tools/commands/import_queue.h"
#include "tools/commands/import_state.h"
#include "tools/commands/line_reader.h"
#include "tools/commands/names.h"

static void times_are_made_rfc_3339(void **state)
{
    (void)state;
    static const struct {
        const char *text, *wanted; /* NULL: none */
    } rows[] = {
        {"2004-11-15T12:18:00Z", "2004-11-15T12:18:00.000Z"},
        {"2004-11-15T12:18Z", "2004-11-15T12:18:00.000Z"},
        {"2004-11-15 12:18", "2004-11-15T12:18:00.000Z"},
        {"2004-11-15 12:18:07", "2004-11-15T12:18:07.000Z"},
        {"2004-11-15T12:18:07.25", "2004-11-15T12:18:07.250Z"},
        {"2004-11-15T12:18:07+02:00", "2004-11-15T10:18:07.000Z"},
        {"2004-11-15 12:18-02:00", "2004-11-15T14:18:00.000Z"},
        {"1100521080", "2004-11-15T12:18:00.000Z"},
        {"1100521080123", "2004-11-15T12:18:00.123Z"},
        {"", NULL},
        {"yesterday", NULL},
        {"2004-11-15", NULL},
        {"2004-13-15T12:18:00Z", NULL},
        {"1969-12-31T23:59:59Z", NULL},
        {"11005210801234567890", NULL},
    };
    for (size_t i = 0; i < PARLEY_ARRAY_COUNT(rows); i++) {
        uint64_t ms;
        char text[RFC3339_BYTES + 1] = "";
        int err = import_line_time(span_of_words(rows[i].text), &ms);
        assert_int_equal(err, rows[i].wanted ? 0 : -PARLEY_ERR_BAD_REQUEST);
        if (err)
            continue;
        rfc3339_format(ms, text);
        assert_string_equal(text, rows[i].wanted);
    }
}

static void a_bad_line_says_why(void **state)
{
    (void)state;
    struct json_reader *reader = json_reader_create(4096);
    struct import_line line;
    const char *why = NULL;
#define READ(text) import_line_read(reader, span_of_words(text), &line, &why)
    assert_int_equal(READ("{\"conversation\":\"c\",\"time\":\"2004-11-15T12:18:00Z\",\"sender\":\"a\","
                          "\"text\":\"t\",\"x\":[1]}"),
                     0);
    assert_true(span_is(line.conversation, "c") && span_is(line.sender, "a") && span_is(line.text, "t"));
    assert_int_equal(line.time_ms, UINT64_C(1100521080000));
    assert_int_equal(READ("{\"conversation\":\"c\",\"sender\":\"a\",\"text\":\"t\"}"), 0);
    assert_int_equal(line.time_ms, 0);
    assert_int_equal(READ("{\"conversation\":\"c\",\"sender\":\"a\",\"text\":\"\"}"), -PARLEY_ERR_END);
    assert_int_equal(READ("{\"conversation\":\"\",\"sender\":\"a\",\"text\":\"t\"}"),
                     -PARLEY_ERR_BAD_REQUEST);
    assert_int_equal(READ("{\"conversation\":\"c\",\"sender\":\"\",\"text\":\"t\"}"),
                     -PARLEY_ERR_BAD_REQUEST);
    assert_int_equal(READ("{\"conversation\":\"c\",\"sender\":\"a\",\"text\":\"t\",\"time\":\"x\"}"),
                     -PARLEY_ERR_BAD_REQUEST);
    assert_non_null(strstr(why, "RFC 3339"));
    assert_int_equal(READ("{\"conversation\":\"c\"}"), -PARLEY_ERR_BAD_REQUEST);
    assert_int_equal(READ("{\"conversation\":"), -PARLEY_ERR_BAD_JSON);
    assert_int_equal(READ(""), -PARLEY_ERR_BAD_JSON);
    assert_int_equal(READ("{\"conversation\":\"\xff\",\"sender\":\"a\",\"text\":\"t\"}"),
                     -PARLEY_ERR_BAD_UTF8);
#undef READ
    json_reader_destroy(&reader);
}

static int file_of(const void *data, size_t len)
{
    char path[] = "tools_test_XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    unlink(path);
    assert_int_equal(write(fd, data, len), (ssize_t)len);
    return fd;
}

static void assert_next(struct line_reader *r, const char *wanted, uint64_t number)
{
    struct span line;
    assert_int_equal(line_reader_next(r, &line), 0);
    assert_true(span_is(line, wanted));
    assert_int_equal(line_reader_number(r), number);
}

static void lines_come_from_plain_and_gzip(void **state)
{
    (void)state;
    static const char text[] = "one\n\nthree\nlast without a feed";
    uint8_t packed[256];
    z_stream z = {.next_in = (uint8_t *)(uintptr_t)text,
                  .avail_in = sizeof text - 1,
                  .next_out = packed,
                  .avail_out = sizeof packed};
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    size_t packed_len = z.total_out;
    deflateEnd(&z);
    for (int i = 0; i < 2; i++) {
        struct line_reader *r = NULL;
        struct span line;
        int fd = i ? file_of(packed, packed_len) : file_of(text, sizeof text - 1);
        for (int pass = 0; pass < 2; pass++) { /* twice from the beginning */
            assert_int_equal(line_reader_open(fd, &r), 0);
            assert_next(r, "one", 1);
            assert_next(r, "", 2);
            assert_next(r, "three", 3);
            assert_next(r, "last without a feed", 4);
            assert_int_equal(line_reader_next(r, &line), -PARLEY_ERR_END);
            assert_int_equal(line_reader_next(r, &line), -PARLEY_ERR_END);
            line_reader_close(&r);
        }
        close(fd);
    }
    /* Cut off: what is whole comes, then it is said. */
    struct line_reader *r = NULL;
    struct span line;
    int fd = file_of(packed, packed_len - 6), err = 0;
    assert_int_equal(line_reader_open(fd, &r), 0);
    for (int i = 0; i < 6 && !err; i++)
        err = line_reader_next(r, &line);
    assert_int_equal(err, -PARLEY_ERR_CORRUPT);
    line_reader_close(&r);
    close(fd);
}

static void a_line_too_long_is_passed_over(void **state)
{
    (void)state;
    size_t len = LINE_BYTES_MAX + 400000;
    char *text = malloc(len + 16);
    assert_non_null(text);
    memset(text, 'x', len);
    memcpy(text, "one\n", 4);
    memcpy(text + len, "\nthree\n", 7);
    struct line_reader *r = NULL;
    struct span line;
    int fd = file_of(text, len + 7);
    assert_int_equal(line_reader_open(fd, &r), 0);
    assert_next(r, "one", 1);
    assert_int_equal(line_reader_next(r, &line), -PARLEY_ERR_TOO_LARGE);
    assert_next(r, "three", 3);
    assert_int_equal(line_reader_next(r, &line), -PARLEY_ERR_END);
    line_reader_close(&r);
    close(fd);
    free(text);
}

static void names_are_numbered_once(void **state)
{
    (void)state;
    struct names names = {0};
    char words[24];
    for (uint32_t round = 0; round < 2; round++)
        for (uint32_t i = 0; i < 5000; i++) {
            uint32_t number;
            bool fresh;
            snprintf(words, sizeof words, "name %u", i);
            assert_int_equal(names_add(&names, span_of_words(words), &number, &fresh), 0);
            assert_int_equal(number, i);
            assert_true(fresh == (round == 0));
        }
    assert_int_equal(names.count, 5000);
    assert_int_equal(names_find(&names, span_of_words("nobody")), UINT32_MAX);
    names_clear(&names);
    /* For ever: ids that imports gave are made of it. */
    assert_int_equal(names_hash_64(span_of_words("tea")), names_hash_64(span_of_words("tea")));
}

/* -- the queue */

static void push(struct import_queue *q, uint32_t lane, uint64_t line, uint64_t ordinal)
{
    struct import_item item = {
        .line = line, .ordinal = ordinal, .sender = span_of_words("ann"), .text = span_of_words("hi")};
    assert_int_equal(import_queue_push(q, lane, &item), 0);
}

static void one_of_a_conversation_is_under_way_and_many_conversations_are(void **state)
{
    (void)state;
    struct import_queue q;
    assert_int_equal(import_queue_init(&q, 2, 1), 0);
    push(&q, 0, 1, 1);
    push(&q, 0, 2, 2);
    push(&q, 1, 3, 1);
    struct import_item *a = import_queue_next(&q), *b = import_queue_next(&q);
    assert_true(a->lane == 0 && a->ordinal == 1 && b->lane == 1);
    assert_null(import_queue_next(&q));
    assert_int_equal(import_queue_mark(&q, 3), 0);
    assert_null(import_queue_find(&q, 0, 2)); /* not under way */
    import_queue_done(&q, import_queue_find(&q, 0, 1));
    assert_int_equal(import_queue_mark(&q, 3), 1);
    a = import_queue_next(&q);
    assert_true(a->lane == 0 && a->ordinal == 2);
    import_queue_refused(&q, a); /* busy: the same again */
    assert_ptr_equal(import_queue_next(&q), a);
    import_queue_done(&q, a);
    assert_int_equal(import_queue_mark(&q, 3), 2);
    import_queue_done(&q, b);
    assert_int_equal(import_queue_mark(&q, 3), 3);
    assert_true(q.count == 0 && q.bytes == 0 && q.under_way == 0 && q.out_of_order == 0);
    import_queue_clear(&q);
}

static void a_refusal_halts_until_the_rest_is_answered_and_counts_what_came_by(void **state)
{
    (void)state;
    struct import_queue q;
    assert_int_equal(import_queue_init(&q, 1, 3), 0);
    for (uint64_t i = 1; i <= 5; i++)
        push(&q, 0, i, i);
    struct import_item *item[3];
    for (int i = 0; i < 3; i++)
        assert_non_null(item[i] = import_queue_next(&q));
    assert_null(import_queue_next(&q));
    import_queue_refused(&q, item[0]);
    assert_null(import_queue_next(&q));
    import_queue_done(&q, item[1]);
    assert_int_equal(q.out_of_order, 1);
    assert_null(import_queue_next(&q));
    import_queue_refused(&q, item[2]);
    assert_int_equal(import_queue_next(&q)->ordinal, 1);
    assert_int_equal(import_queue_next(&q)->ordinal, 3);
    assert_int_equal(import_queue_next(&q)->ordinal, 4);
    assert_null(import_queue_next(&q));
    import_queue_lost(&q);
    for (uint64_t wanted = 1; wanted <= 5; wanted += wanted == 1 ? 2 : 1) {
        struct import_item *next = import_queue_next(&q);
        assert_int_equal(next->ordinal, wanted);
        import_queue_done(&q, next);
    }
    assert_true(q.count == 0 && q.bytes == 0 && q.under_way == 0 && q.out_of_order == 1);
    import_queue_clear(&q);
}

/* Random answers, refusals and losses: each item is given out until it is done, and with one under way in each lane the
 * order in which they get done is the order in which they came. */
static void order_survives_any_trouble(void **state)
{
    (void)state;
    enum { LANES = 5, ITEMS = 2000 };
    uint64_t seed = 42, done_count = 0, last[LANES] = {0}, pushed[LANES] = {0};
    struct import_item *away[LANES];
    uint32_t away_count = 0;
    struct import_queue q;
    assert_int_equal(import_queue_init(&q, LANES, 1), 0);
    for (uint64_t line = 0; done_count < ITEMS;) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        uint32_t dice = (uint32_t)(seed >> 33) % 100;
        struct import_item *item;
        if (dice < 40 && line < ITEMS) {
            uint32_t lane = (uint32_t)(seed >> 50) % LANES;
            push(&q, lane, ++line, ++pushed[lane]);
        } else if (dice < 65 && (item = import_queue_next(&q))) {
            away[away_count++] = item;
        } else if (dice < 98 && away_count) {
            uint32_t which = (uint32_t)(seed >> 45) % away_count;
            item = away[which];
            away[which] = away[--away_count];
            if (dice < 75) {
                import_queue_refused(&q, item);
                continue;
            }
            assert_int_equal(item->ordinal, ++last[item->lane]);
            import_queue_done(&q, item);
            done_count++;
        } else if (dice == 99) {
            import_queue_lost(&q);
            away_count = 0;
        }
        assert_int_equal(q.under_way, away_count);
    }
    assert_true(q.count == 0 && q.bytes == 0);
    import_queue_clear(&q);
}

static void a_state_counts_only_for_its_file_and_server(void **state)
{
    (void)state;
    char path[] = "tools_state_XXXXXX";
    int fd = mkstemp(path);
    struct import_state mine = {.conversation = "0123456789abcdef0123456789abcdef", .lines = 1234}, other;
    assert_int_equal(import_state_identify(fd, &mine), 0);
    assert_int_equal(import_state_save(path, &mine), 0);
    assert_int_equal(import_state_load(path, &mine), 1234);
    other = mine;
    other.bytes++;
    assert_int_equal(import_state_load(path, &other), 0);
    other = mine;
    other.conversation[0] = 'f';
    assert_int_equal(import_state_load(path, &other), 0);
    unlink(path);
    assert_int_equal(import_state_load(path, &mine), 0);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_are_made_rfc_3339),
        cmocka_unit_test(a_bad_line_says_why),
        cmocka_unit_test(lines_come_from_plain_and_gzip),
        cmocka_unit_test(a_line_too_long_is_passed_over),
        cmocka_unit_test(names_are_numbered_once),
        cmocka_unit_test(one_of_a_conversation_is_under_way_and_many_conversations_are),
        cmocka_unit_test(a_refusal_halts_until_the_rest_is_answered_and_counts_what_came_by),
        cmocka_unit_test(order_survives_any_trouble),
        cmocka_unit_test(a_state_counts_only_for_its_file_and_server),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
