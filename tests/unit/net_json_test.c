/* JSON: the flat table, the limits, jansson's strict mode as the oracle on damaged texts, and the writer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <jansson.h>

#include "net/json.h"
#include "net/json_writer.h"
#include "src/base/error.h"
#include "src/base/memory.h"

enum { TEXT_MAX = 65536 };

static struct json_reader *reader;

static int read_bytes(const void *text, size_t len, struct json_field *fields, size_t count)
{
    return json_read(reader, text, len, fields, count);
}

static int read_text(const char *text)
{
    static struct json_field fields[5];
    memcpy(fields,
           (struct json_field[5]){{.name = "s", .kind = JSON_FIELD_STRING},
                                  {.name = "i", .kind = JSON_FIELD_INT},
                                  {.name = "b", .kind = JSON_FIELD_BOOL},
                                  {.name = "a", .kind = JSON_FIELD_STRINGS},
                                  {.name = "o", .kind = JSON_FIELD_OBJECT}},
           sizeof fields);
    return read_bytes(text, strlen(text), fields, 5);
}

static void assert_span(struct span s, const char *want)
{
    assert_int_equal(s.len, strlen(want));
    assert_memory_equal(s.data, want, s.len);
}

static void known_fields_are_filled(void **state)
{
    (void)state;
    static const char text[] =
        " {\"x\":[{\"s\":1},[]],\"s\":\"a\\n\\u20ac\\ud83d\\ude00\",\"i\":-9223372036854775808,\"b\":true,"
        "\"a\":[\"one\",\"t\\\"wo\",\"\"], \"\\u006f\" : { \"s\": [1, {}] } "
        ",\"n\":1e999,\"missing\":null}\r\n";
    struct json_field f[] = {{.name = "s", .kind = JSON_FIELD_STRING, .required = true},
                             {.name = "i", .kind = JSON_FIELD_INT},
                             {.name = "b", .kind = JSON_FIELD_BOOL},
                             {.name = "a", .kind = JSON_FIELD_STRINGS},
                             {.name = "o", .kind = JSON_FIELD_OBJECT},
                             {.name = "missing", .kind = JSON_FIELD_STRING}};
    assert_int_equal(read_bytes(text, sizeof text - 1, f, PARLEY_ARRAY_COUNT(f)), 0);
    assert_span(f[0].value.string, "a\n\xe2\x82\xac\xf0\x9f\x98\x80");
    assert_true(f[1].value.integer == INT64_MIN);
    assert_true(f[2].value.boolean);
    assert_int_equal(f[3].value.strings.count, 3);
    assert_span(f[3].value.strings.items[0], "one");
    assert_span(f[3].value.strings.items[1], "t\"wo");
    assert_int_equal(f[3].value.strings.items[2].len, 0);
    assert_span(f[4].value.object, "{ \"s\": [1, {}] }");
    assert_false(f[5].present);
}

static void another_form_is_a_bad_request(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "1",
        "\"s\"",
        "null",
        "[]",
        "[{\"s\":\"a\"}]",
        "{\"s\":1}",
        "{\"i\":\"1\"}",
        "{\"i\":1.0}",
        "{\"i\":1e3}",
        "{\"b\":0}",
        "{\"a\":{}}",
        "{\"a\":[1]}",
        "{\"a\":[null]}",
        "{\"a\":[[]]}",
        "{\"a\":[[\"x\"]]}",
        "{\"a\":[{\"x\":\"y\"}]}",
        "{\"o\":[]}",
        "{\"s\":{}}",
        "{\"i\":9223372036854775808}",
        "{\"i\":-9223372036854775809}",
        "{\"a\":[\"x\",{}]}",
    };
    for (size_t i = 0; i < PARLEY_ARRAY_COUNT(bad); i++)
        assert_int_equal(read_text(bad[i]), -PARLEY_ERR_BAD_REQUEST);
    struct json_field f = {.name = "must", .required = true};
    assert_int_equal(read_bytes("{}", 2, &f, 1), -PARLEY_ERR_BAD_REQUEST);
    assert_int_equal(read_bytes("{\"must\":null}", 13, &f, 1), -PARLEY_ERR_BAD_REQUEST);
    assert_int_equal(read_text("{\"s\":1,}"), -PARLEY_ERR_BAD_JSON); /* the text's error goes first */
}

static void the_first_fault_of_the_form_is_told_and_the_rest_is_there(void **state)
{
    (void)state;
    struct json_field f[] = {
        {.name = "s", .kind = JSON_FIELD_STRING, .bytes_min = 1, .bytes_max = 3, .must = "short"},
        {.name = "i", .kind = JSON_FIELD_INT},
        {.name = "a", .kind = JSON_FIELD_STRINGS, .bytes_min = 1, .bytes_max = 2},
        {.name = "r", .kind = JSON_FIELD_BOOL, .required = true}};
    const struct {
        const char *text;
        int err;
        const char *field, *must;
    } cases[] = {
        {"{\"s\":\"four\",\"r\":true}", -PARLEY_ERR_TOO_LARGE, "s", "short"},
        {"{\"s\":\"\",\"r\":true}", -PARLEY_ERR_BAD_REQUEST, "s", "short"},
        {"{\"a\":[\"x\",\"\"],\"r\":true}", -PARLEY_ERR_BAD_REQUEST, "a", "a list of texts"},
        {"{\"a\":[\"x\",\"abc\"],\"r\":true}", -PARLEY_ERR_TOO_LARGE, "a", "a list of texts"},
        {"{\"i\":\"1\",\"s\":7,\"r\":true}", -PARLEY_ERR_BAD_REQUEST, "i", "a whole number of 64 bits"},
        {"{\"s\":\"abc\"}", -PARLEY_ERR_BAD_REQUEST, "r", "true or false"},
        {"{\"s\":\"abc\",\"r\":false,\"i\":1,\"a\":[\"xy\"]}", 0, NULL, NULL},
    };
    for (size_t i = 0; i < PARLEY_ARRAY_COUNT(cases); i++) {
        assert_int_equal(read_bytes(cases[i].text, strlen(cases[i].text), f, 4), cases[i].err);
        struct fault fault = json_reader_fault(reader);
        assert_true(!fault.field == !cases[i].field);
        if (fault.field) {
            assert_string_equal(fault.field, cases[i].field);
            assert_string_equal(fault.text, cases[i].must);
        }
    }
    assert_int_equal(read_bytes("{\"s\":\"abc\",\"r\":1}", 17, f, 4), -PARLEY_ERR_BAD_REQUEST);
    assert_true(f[0].present && !f[3].present);
    assert_int_equal(read_bytes("{\"s\":\"abc\",\"r\":1", 16, f, 4), -PARLEY_ERR_BAD_JSON);
    assert_false(f[0].present);
}

static void what_yajl_lets_pass_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        " ",
        "{",
        "{}x",
        "{}{}",
        "{}\"", /* an unfinished string */
        "{} \"x",
        "[]\"",
        "1\"",
        "null\"",
        "{\"a\":[],\"a\":[]}",
        "{\"x\":1,\"\\u0078\":1}",
        "{\"y\":{\"x\":1,\"x\":1}}",
        "{\"y\":[{\"x\":1,\"x\":1}]}",
        "{\v}",
        "{\f}",
        "{\"s\":\"\\u0000\"}",
        "{\"s\":\"\\ud800\"}",
        "{\"s\":\"\\udc00\"}",
        "{\"s\":\"\\ud800\\u0041\"}",
        "{\"s\":\"\\ud800x\"}",
        "{\"s\":\"\x01\"}",
        "{\"s\":\"\\x\"}",
        "{/*c*/}",
        "{\"i\":01}",
        "{\"i\":+1}",
        "{\"i\":NaN}",
        "{'s':1}",
        "\xef\xbb\xbf{}",
        "{\"y\":[[[[[[[[]]]]]]]]}",
    };
    for (size_t i = 0; i < PARLEY_ARRAY_COUNT(bad); i++)
        assert_int_equal(read_text(bad[i]), -PARLEY_ERR_BAD_JSON);
    assert_int_equal(read_text("{\"y\":[[[[[[[]]]]]]]}"), 0);
    assert_int_equal(read_text("{\"y\":{\"x\":1},\"z\":{\"x\":1},\"x\":1}"), 0);
    assert_int_equal(read_text("{\"s\":\"\xff\"}"), -PARLEY_ERR_BAD_UTF8);
    assert_int_equal(read_text("{\"s\":\"\xed\xa0\x80\"}"), -PARLEY_ERR_BAD_UTF8);
    assert_int_equal(read_bytes("{\0}", 3, NULL, 0), -PARLEY_ERR_BAD_JSON);
}

static void limits_are_too_large(void **state)
{
    (void)state;
    static char text[TEXT_MAX + 1];
    memset(text, ' ', sizeof text);
    text[0] = '{', text[TEXT_MAX - 1] = '}';
    assert_int_equal(read_bytes(text, TEXT_MAX, NULL, 0), 0);
    assert_int_equal(read_bytes(text, TEXT_MAX + 1, NULL, 0), -PARLEY_ERR_TOO_LARGE);
    for (unsigned more = 0; more < 2; more++) {
        size_t n = (size_t)sprintf(text, "{");
        for (unsigned i = 0; i < JSON_OPEN_KEY_COUNT_MAX + more; i++)
            n += (size_t)sprintf(text + n, "%s\"k%u\":0", i ? "," : "", i);
        n += (size_t)sprintf(text + n, "}");
        assert_int_equal(read_text(text), more ? -PARLEY_ERR_TOO_LARGE : 0);
        n = (size_t)sprintf(text, "{\"a\":[\"\"");
        for (unsigned i = 1; i < JSON_ELEMENT_COUNT_MAX + more; i++)
            n += (size_t)sprintf(text + n, ",\"\"");
        n += (size_t)sprintf(text + n, "]}");
        assert_int_equal(read_text(text), more ? -PARLEY_ERR_TOO_LARGE : 0);
    }
}

/* yajl's buffers grow most for one long string of escapes, and for a token that does not end. */
static void the_arena_has_room(void **state)
{
    (void)state;
    static char text[TEXT_MAX];
    for (unsigned parts = 1; parts <= 1000; parts *= 10) {
        size_t n = (size_t)sprintf(text, "{\"a\":[\"");
        while (n < TEXT_MAX - 16) {
            n += (size_t)sprintf(text + n, "\\n");
            if (parts > 1 && n % (TEXT_MAX / parts) < 2)
                n += (size_t)sprintf(text + n, "\",\"");
        }
        memcpy(text + n, "\"]}", 3);
        uint64_t allocations = memory_alloc_count();
        struct json_field f = {.name = "a", .kind = JSON_FIELD_STRINGS};
        assert_int_equal(read_bytes(text, n + 3, &f, 1), 0);
        for (size_t cut = 0; cut < n; cut += 777)
            assert_int_equal(read_bytes(text, cut, &f, 1), -PARLEY_ERR_BAD_JSON);
        assert_int_equal(memory_alloc_count(), allocations);
    }
}

static uint64_t seed = 1;

static unsigned dice(unsigned sides)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(seed >> 33) % sides;
}

static void damaged_texts_mean_the_same_to_jansson(void **state)
{
    (void)state;
    static const char *const good[] = {"{\"s\":\"a\\u00e9\\ud83d\\ude00\\n\",\"i\":-120,\"b\":true,\"a\":["
                                       "\"x\",\"\\\\y\"],\"o\":{\"k\":[1.5e3]}}",
                                       "{\"op\":\"send\",\"conversation\":\"00ff\",\"body\":"
                                       "\"gr\xc3\xbc\xc3\x9f \xe2\x82\xac\",\"seq\":\"42\"}",
                                       "[1,-0.5,0,10e+2,{\"a\":null,\"b\":false}]"};
    static const char likely[] = "{}[]\",:\\u0dDeE+-.019 \t\n\v\ftrufalsn/\x7f\x80\xc3\xed\xa0\xff";
    unsigned accepted = 0;
    for (unsigned round = 0; round < 300000; round++) {
        char text[256];
        const char *from = good[dice(3)];
        size_t len = strlen(from);
        memcpy(text, from, len);
        for (unsigned hits = 1 + dice(3); hits; hits--) {
            size_t at = dice((unsigned)len);
            char c = dice(4) ? likely[dice(sizeof likely - 1)] : (char)dice(256);
            if (dice(3) == 0) {
                memmove(text + at + 1, text + at, len - at);
                len++;
            } else if (dice(3) == 0 && len > 1) {
                memmove(text + at, text + at + 1, len - at - 1);
                len--;
                continue;
            }
            text[at] = c;
        }
        char *exact = malloc(len); /* the address sanitizer sees a read behind it */
        memcpy(exact, text, len);
        int err = read_bytes(exact, len, NULL, 0);
        free(exact);
        if (memchr(text, 0, len)) { /* jansson passes over zeros */
            assert_true(err < 0);
            continue;
        }
        json_error_t why;
        json_t *tree = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, &why);
        bool valid = tree != NULL;
        bool wanted = json_is_object(tree);
        json_decref(tree);
        if (!valid && json_error_code(&why) == json_error_numeric_overflow)
            continue; /* a number that nobody asked for may be of any size here */
        int want = wanted ? 0 : valid ? -PARLEY_ERR_BAD_REQUEST : -PARLEY_ERR_BAD_JSON;
        if (err == -PARLEY_ERR_BAD_UTF8)
            err = -PARLEY_ERR_BAD_JSON;
        if (err != want)
            print_message("%.*s\n%s\n", (int)len, text, valid ? "" : why.text);
        assert_int_equal(err, want);
        accepted += wanted;
    }
    assert_true(accepted > 10000);
}

static void ids_are_decimal_strings(void **state)
{
    (void)state;
    uint64_t id = 0;
    assert_true(json_id((struct span){(const uint8_t *)"18446744073709551615", 20}, &id));
    assert_true(id == UINT64_MAX);
    assert_true(json_id((struct span){(const uint8_t *)"0", 1}, &id));
    static const char *const bad[] = {
        "", "01", "-1", "+1", " 1", "1 ", "1a", "18446744073709551616", "99999999999999999999"};
    for (size_t i = 0; i < PARLEY_ARRAY_COUNT(bad); i++)
        assert_false(json_id((struct span){(const uint8_t *)bad[i], strlen(bad[i])}, &id));
}

static void write_sample(struct json_writer *w)
{
    json_open_object(w);
    json_key(w, "s");
    json_put_string(w, (struct span){(const uint8_t *)"q\" b\\ \b\t\n\v\f\r\x01\x1f\x7f \xe2\x82\xac/", 20});
    json_key(w, "i");
    json_put_int(w, INT64_MIN);
    json_key(w, "id");
    json_put_id(w, UINT64_MAX);
    json_key(w, "a");
    json_open_array(w);
    json_put_bool(w, true);
    json_put_bool(w, false);
    json_open_array(w);
    json_close_array(w);
    json_put_int(w, 0);
    json_close_array(w);
    json_key(w, "t");
    json_put_time(w, 1);
    json_key(w, "e");
    json_put_text(w, "");
    json_close_object(w);
}

static void the_writer_writes_what_is_read(void **state)
{
    (void)state;
    static const char want[] = "{\"s\":\"q\\\" b\\\\ \\b\\t\\n\\u000b\\f\\r\\u0001\\u001f\x7f "
                               "\xe2\x82\xac/\",\"i\":-9223372036854775808,"
                               "\"id\":\"18446744073709551615\",\"a\":[true,false,[],0],\"t\":\"1970-01-"
                               "01T00:00:00.001Z\",\"e\":\"\"}";
    enum { LEN = sizeof want - 1 };
    char buf[LEN];
    struct json_writer w = json_writer_of(buf, LEN);
    write_sample(&w);
    assert_false(w.out.failed);
    assert_int_equal(json_writer_len(&w), LEN);
    assert_memory_equal(buf, want, LEN);
    struct json_field f = {.name = "s", .kind = JSON_FIELD_STRING};
    assert_int_equal(read_bytes(buf, LEN, &f, 1), 0);
    assert_int_equal(f.value.string.len, 20);
    assert_memory_equal(f.value.string.data, "q\" b\\ \b\t\n\v\f\r\x01\x1f\x7f \xe2\x82\xac/", 20);
    for (size_t room = 0; room < LEN; room++) {
        w = json_writer_of(buf, room);
        write_sample(&w);
        assert_true(w.out.failed);
    }
}

static void no_memory_is_null(void **state)
{
    (void)state;
    memory_fail_after(0, 1);
    assert_null(json_reader_create(100));
    memory_fail_after(0, 0);
}

static int set_up(void **state)
{
    (void)state;
    reader = json_reader_create(TEXT_MAX);
    return reader ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    json_reader_destroy(&reader);
    return reader ? -1 : 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_fields_are_filled),
        cmocka_unit_test(another_form_is_a_bad_request),
        cmocka_unit_test(the_first_fault_of_the_form_is_told_and_the_rest_is_there),
        cmocka_unit_test(what_yajl_lets_pass_is_refused),
        cmocka_unit_test(limits_are_too_large),
        cmocka_unit_test(the_arena_has_room),
        cmocka_unit_test(damaged_texts_mean_the_same_to_jansson),
        cmocka_unit_test(ids_are_decimal_strings),
        cmocka_unit_test(the_writer_writes_what_is_read),
        cmocka_unit_test(no_memory_is_null),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
