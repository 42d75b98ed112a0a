/* net/json.h: a text is accepted when jansson's strict mode accepts it and the table fits, and the values are the same. */
#include <jansson.h>

#include "net/json.h"
#include "src/base/error.h"
#include "tests/fuzz/fuzz.h"

enum { TEXT_BYTES_MAX = 1 << 16 };
enum { FIELD_STRING, FIELD_INT, FIELD_BOOL, FIELD_STRINGS, FIELD_OBJECT, FIELD_COUNT };

static const struct json_field table[FIELD_COUNT] = {{.name = "s", .kind = JSON_FIELD_STRING},
                                                     {.name = "i", .kind = JSON_FIELD_INT},
                                                     {.name = "b", .kind = JSON_FIELD_BOOL},
                                                     {.name = "a", .kind = JSON_FIELD_STRINGS},
                                                     {.name = "o", .kind = JSON_FIELD_OBJECT}};

static size_t depth_of(const json_t *tree)
{
    size_t deepest = 0, depth, i;
    const char *key;
    json_t *value;
    json_array_foreach(tree, i, value)
    {
        depth = depth_of(value);
        deepest = depth > deepest ? depth : deepest;
    }
    json_object_foreach((json_t *)(uintptr_t)tree, key, value)
    {
        depth = depth_of(value);
        deepest = depth > deepest ? depth : deepest;
    }
    return deepest + (json_is_array(tree) || json_is_object(tree));
}

static bool string_is(struct span s, const json_t *value)
{
    return json_is_string(value) &&
           fuzz_same(s, (struct span){(const uint8_t *)json_string_value(value), json_string_length(value)});
}

static void check_strings(const struct json_field *f, const json_t *value)
{
    parley_assert(json_is_array(value) && json_array_size(value) == f->value.strings.count);
    for (size_t i = 0; i < f->value.strings.count; i++)
        parley_assert(string_is(f->value.strings.items[i], json_array_get(value, i)));
}

static void check_object(const struct json_field *f, const json_t *value)
{
    json_t *again = json_loadb((const char *)f->value.object.data, f->value.object.len,
                               JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, NULL);
    parley_assert(again && json_equal(again, value));
    json_decref(again);
}

static void check_field(const struct json_field *f, const json_t *value)
{
    parley_assert(f->present == (value && !json_is_null(value)));
    if (!f->present)
        return;
    switch (f->kind) {
    case JSON_FIELD_STRING:
        parley_assert(string_is(f->value.string, value));
        break;
    case JSON_FIELD_INT: /* read as a double here */
        parley_assert(json_is_real(value) && json_real_value(value) == (double)f->value.integer);
        break;
    case JSON_FIELD_BOOL:
        parley_assert(json_is_boolean(value) && json_is_true(value) == f->value.boolean);
        break;
    case JSON_FIELD_STRINGS:
        check_strings(f, value);
        break;
    case JSON_FIELD_OBJECT:
        check_object(f, value);
        break;
    }
}

/* Why the reader may refuse what is valid. */
static void check_refusal(int err, struct span text, const json_t *tree)
{
    size_t colons = 0, commas = 0;
    for (size_t i = 0; i < text.len; i++) {
        colons += text.data[i] == ':';
        commas += text.data[i] == ',';
    }
    if (err == -PARLEY_ERR_TOO_LARGE) {
        parley_assert(colons > JSON_OPEN_KEY_COUNT_MAX || commas >= JSON_ELEMENT_COUNT_MAX);
        return;
    }
    if (err == -PARLEY_ERR_BAD_JSON) {
        parley_assert(depth_of(tree) > JSON_DEPTH_MAX);
        return;
    }
    parley_assert(err == -PARLEY_ERR_BAD_REQUEST);
    json_t *s = json_object_get(tree, "s"), *i = json_object_get(tree, "i"), *b = json_object_get(tree, "b");
    json_t *a = json_object_get(tree, "a"), *o = json_object_get(tree, "o");
    bool fits = json_is_object(tree) && (!s || json_is_string(s) || json_is_null(s)) &&
                (!i || json_is_null(i)) && (!b || json_is_boolean(b) || json_is_null(b)) &&
                (!a || json_is_null(a)) && (!o || json_is_object(o) || json_is_null(o));
    parley_assert(!fits);
}

static void check_tree(int err, struct span text, const struct json_field *fields, const json_t *tree)
{
    if (err) {
        check_refusal(err, text, tree);
        return;
    }
    parley_assert(json_is_object(tree) && depth_of(tree) <= JSON_DEPTH_MAX);
    for (size_t i = 0; i < FIELD_COUNT; i++)
        check_field(&fields[i], json_object_get(tree, fields[i].name));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct json_reader *reader;
    struct json_field fields[FIELD_COUNT];
    struct span text = {data, len};
    json_error_t why;
    if (!reader)
        reader = json_reader_create(TEXT_BYTES_MAX);
    parley_assert(reader);
    memcpy(fields, table, sizeof fields);
    int err = json_read(reader, data, len, fields, FIELD_COUNT);
    parley_assert(err <= 0);
    if (len && memchr(data, 0, len)) { /* jansson passes over zeros */
        parley_assert(err < 0);
        return 0;
    }
    json_t *tree = json_loadb((const char *)data, len,
                              JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL | JSON_DECODE_ANY, &why);
    if (tree)
        check_tree(err, text, fields, tree);
    else if (json_error_code(&why) != json_error_numeric_overflow) /* nobody may have asked for that number */
        parley_assert(err == -PARLEY_ERR_BAD_JSON || err == -PARLEY_ERR_BAD_UTF8 ||
                      err == -PARLEY_ERR_TOO_LARGE);
    json_decref(tree);
    return 0;
}
