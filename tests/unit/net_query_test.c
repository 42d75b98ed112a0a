/* Paths and query strings: decoded once, strictly. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#include "net/query.h"
#include "src/base/error.h"

static struct span text(const char *s)
{
    return (struct span){(const uint8_t *)s, strlen(s)};
}

static void assert_span(struct span s, const char *want)
{
    assert_int_equal(s.len, strlen(want));
    assert_memory_equal(s.data, want, s.len);
}

static int path_of(const char *path, struct query_path *out)
{
    static uint8_t buf[256];
    struct query_scratch scratch = query_scratch_of(buf, strlen(path));
    return query_path(text(path), &scratch, out);
}

static void a_target_is_split_at_the_first_question_mark(void **state)
{
    (void)state;
    struct span path, query;
    query_split(text("/a?b=c?d"), &path, &query);
    assert_span(path, "/a");
    assert_span(query, "b=c?d");
    query_split(text("/a"), &path, &query);
    assert_span(path, "/a");
    assert_int_equal(query.len, 0);
    query_split(text("/a?"), &path, &query);
    assert_int_equal(query.len, 0);
}

static void segments_are_decoded(void **state)
{
    (void)state;
    struct query_path p;
    assert_int_equal(path_of("/", &p), 0);
    assert_int_equal(p.count, 0);
    assert_int_equal(path_of("/v1/users/a%40b+c/%e2%82%AC/...", &p), 0);
    assert_int_equal(p.count, 5);
    assert_span(p.segments[0], "v1");
    assert_span(p.segments[2], "a@b+c");
    assert_span(p.segments[3], "\xe2\x82\xac");
    assert_span(p.segments[4], "...");
}

static void bad_paths_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",          "a",      "//",   "/a/",  "/a//b", "/.",   "/..",
                                      "/%2e%2E/a", "/a%2fb", "/%",   "/%4",  "/%4g",  "/%-1", "/% 1",
                                      "/%00",      "/%0a",   "/%7f", "/a b", "/\x80"};
    struct query_path p;
    for (size_t i = 0; i < PARLEY_ARRAY_COUNT(bad); i++)
        assert_int_equal(path_of(bad[i], &p), -PARLEY_ERR_BAD_REQUEST);
    assert_int_equal(path_of("/%c0%ae", &p), -PARLEY_ERR_BAD_UTF8);
    assert_int_equal(path_of("/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16", &p), 0);
    assert_int_equal(path_of("/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17", &p), -PARLEY_ERR_BAD_REQUEST);
}

static void known_parameters_are_found(void **state)
{
    (void)state;
    uint8_t buf[256];
    struct query_scratch scratch = query_scratch_of(buf, sizeof buf);
    struct query_param params[] = {{.name = "cursor"}, {.name = "wait"}, {.name = "limit"}};
    assert_int_equal(query_read(text("x=1&x=2&&=3&%63ursor=a%26b+c%2B&limit&y"), &scratch, params,
                                PARLEY_ARRAY_COUNT(params), NULL),
                     0);
    assert_true(params[0].present);
    assert_span(params[0].value, "a&b c+");
    assert_false(params[1].present);
    assert_true(params[2].present);
    assert_int_equal(params[2].value.len, 0);
    assert_int_equal(query_read((struct span){0}, &scratch, params, PARLEY_ARRAY_COUNT(params), NULL), 0);
    assert_false(params[0].present);
}

static void bad_queries_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"wait=1&wait=1", "wait=%",   "x=%1", "%zz=1",
                                      "x=\x01",        "wait=%00", "x= "};
    struct query_param params[] = {{.name = "wait"}};
    uint8_t buf[256];
    for (size_t i = 0; i < PARLEY_ARRAY_COUNT(bad); i++) {
        struct query_scratch scratch = query_scratch_of(buf, sizeof buf);
        assert_int_equal(query_read(text(bad[i]), &scratch, params, 1, NULL), -PARLEY_ERR_BAD_REQUEST);
    }
    struct query_scratch scratch = query_scratch_of(buf, sizeof buf);
    assert_int_equal(query_read(text("x=%ff"), &scratch, params, 1, NULL), -PARLEY_ERR_BAD_UTF8);
    scratch = query_scratch_of(buf, 3);
    assert_int_equal(query_read(text("wait=1"), &scratch, params, 1, NULL), -PARLEY_ERR_BAD_REQUEST);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_target_is_split_at_the_first_question_mark),
        cmocka_unit_test(segments_are_decoded),
        cmocka_unit_test(bad_paths_are_refused),
        cmocka_unit_test(known_parameters_are_found),
        cmocka_unit_test(bad_queries_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
