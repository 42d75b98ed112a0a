#include "net/json.h"

#include "net/utf8_stream.h"
#include "src/base/error.h"
#include "src/base/memory.h"

#include <string.h>
#include <yajl/yajl_parse.h>

enum {
    BLOCK_ALIGN = 16,
    /* yajl's own blocks: the handle, and two buffers (a decoded string, an unfinished token) that begin with
     * 2 KiB and double. The sizes of one buffer add up to less than 4 texts and 4 KiB. */
    ARENA_BYTES_MIN = 65536,
    ARENA_TEXTS = 8,
};

struct open_object {
    bool is_object;
    uint32_t key_base; /* its keys are those from here on */
};

struct json_reader {
    uint32_t text_bytes_max;
    /* The text being read. */
    yajl_handle yajl;
    const uint8_t *text;
    size_t len;
    struct json_field *fields;
    size_t field_count;
    struct json_field *field; /* whose value comes next or is being read; NULL: an unknown one's */
    int text_err, form_err;
    struct fault fault; /* of the first error */
    unsigned depth;
    bool completing;  /* yajl looks at its own blank behind the text now */
    size_t value_end; /* where the outermost value ended */
    size_t object_start, element_count, key_count, scratch_used, arena_used;
    struct open_object open[JSON_DEPTH_MAX];
    struct span keys[JSON_OPEN_KEY_COUNT_MAX];
    struct span elements[JSON_ELEMENT_COUNT_MAX];
    uint8_t *scratch; /* strings that had escapes; none is longer decoded than written */
    uint8_t *arena;
    size_t arena_bytes;
};

/* yajl allocates for each text and does not look whether it got something: the arena always has room. */
static void *arena_alloc(void *ctx, size_t len)
{
    struct json_reader *r = ctx;
    size_t block = BLOCK_ALIGN + (len + BLOCK_ALIGN - 1) / BLOCK_ALIGN * BLOCK_ALIGN;
    parley_assert(block <= r->arena_bytes - r->arena_used);
    uint8_t *at = r->arena + r->arena_used;
    r->arena_used += block;
    memcpy(at, &len, sizeof len);
    return at + BLOCK_ALIGN;
}

static void *arena_realloc(void *ctx, void *old, size_t len)
{
    void *p = arena_alloc(ctx, len);
    if (old) {
        size_t old_len;
        memcpy(&old_len, (uint8_t *)old - BLOCK_ALIGN, sizeof old_len);
        memcpy(p, old, old_len < len ? old_len : len);
    }
    return p;
}

static void arena_free(void *ctx, void *p)
{
    (void)ctx, (void)p; /* the next text takes all back */
}

static int fail_text(struct json_reader *r, int err, const char *why)
{
    r->text_err = err;
    r->fault = (struct fault){NULL, why};
    return 0; /* stops yajl */
}

struct fault json_field_fault(const struct json_field *field)
{
    static const char *const kinds[] = {[JSON_FIELD_STRING] = "a text",
                                        [JSON_FIELD_INT] = "a whole number of 64 bits",
                                        [JSON_FIELD_BOOL] = "true or false",
                                        [JSON_FIELD_STRINGS] = "a list of texts",
                                        [JSON_FIELD_OBJECT] = "an object"};
    return (struct fault){field->name, field->must ? field->must : kinds[field->kind]};
}

/* The first one is told. `field` NULL: all of it. */
static void fail_form(struct json_reader *r, int err, const struct json_field *field)
{
    if (r->form_err)
        return;
    r->form_err = err;
    r->fault = field ? json_field_fault(field) : (struct fault){NULL, "The JSON must be an object."};
}

/* yajl's decoded strings last only for the callback. */
static struct span keep(struct json_reader *r, const uint8_t *data, size_t len)
{
    if (len == 0)
        return (struct span){r->text, 0};
    uintptr_t at = (uintptr_t)data, text = (uintptr_t)r->text;
    if (at >= text && at < text + r->len)
        return (struct span){data, len};
    parley_assert(len <= r->text_bytes_max - r->scratch_used);
    uint8_t *copy = r->scratch + r->scratch_used;
    memcpy(copy, data, len);
    r->scratch_used += len;
    return (struct span){copy, len};
}

/* yajl takes an unfinished string behind the value for the end of the text: what follows is looked at here. */
static void end_value(struct json_reader *r)
{
    if (r->depth == 0)
        r->value_end = r->completing ? r->len : yajl_get_bytes_consumed(r->yajl);
}

static bool ends_in_blanks(const struct json_reader *r)
{
    for (size_t i = r->value_end; i < r->len; i++)
        if (r->text[i] != ' ' && r->text[i] != '\n' && r->text[i] != '\t' && r->text[i] != '\r')
            return false;
    return true;
}

/* The field that a value of this kind fills, if any. Only direct members of the outermost object count. */
static struct json_field *take_field(struct json_reader *r, enum json_kind kind)
{
    if (r->depth == 0)
        fail_form(r, -PARLEY_ERR_BAD_REQUEST, NULL);
    end_value(r);
    if (r->depth == 2 && r->field && r->field->kind == JSON_FIELD_STRINGS)
        fail_form(r, -PARLEY_ERR_BAD_REQUEST,
                  r->field); /* only strings may be in it; those do not come here */
    if (r->depth != 1 || !r->field)
        return NULL;
    struct json_field *f = r->field;
    if (f->kind != kind) {
        fail_form(r, -PARLEY_ERR_BAD_REQUEST, f);
        r->field = NULL;
        return NULL;
    }
    f->present = true;
    return f;
}

static int on_null(void *ctx)
{
    struct json_reader *r = ctx;
    bool in_list = r->depth == 2 && r->field && r->field->kind == JSON_FIELD_STRINGS;
    if (r->depth == 0 || in_list)
        fail_form(r, -PARLEY_ERR_BAD_REQUEST, in_list ? r->field : NULL);
    end_value(r);
    return 1;
}

static int on_bool(void *ctx, int value)
{
    struct json_field *f = take_field(ctx, JSON_FIELD_BOOL);
    if (f)
        f->value.boolean = value;
    return 1;
}

static bool parse_int(const char *text, size_t len, int64_t *out)
{
    bool negative = len && text[0] == '-';
    int64_t v = 0;
    for (size_t i = negative; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        int64_t digit = negative ? '0' - text[i] : text[i] - '0';
        if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, digit, &v))
            return false;
    }
    *out = v;
    return true;
}

static int on_number(void *ctx, const char *text, size_t len)
{
    struct json_field *f = take_field(ctx, JSON_FIELD_INT);
    if (f && !parse_int(text, len, &f->value.integer)) {
        fail_form(ctx, -PARLEY_ERR_BAD_REQUEST, f);
        f->present = false;
    }
    return 1;
}

static int on_string(void *ctx, const unsigned char *data, size_t len)
{
    struct json_reader *r = ctx;
    if (r->depth == 2 && r->field && r->field->kind == JSON_FIELD_STRINGS) {
        if (r->element_count == JSON_ELEMENT_COUNT_MAX) {
            (void)fail_text(r, -PARLEY_ERR_TOO_LARGE, NULL);
            r->fault = json_field_fault(r->field);
            return 0;
        }
        r->elements[r->element_count++] = keep(r, data, len);
        r->field->value.strings.count++;
        return 1;
    }
    struct json_field *f = take_field(r, JSON_FIELD_STRING);
    if (f)
        f->value.string = keep(r, data, len);
    return 1;
}

static int open_value(struct json_reader *r, bool is_object)
{
    if (r->depth == JSON_DEPTH_MAX)
        return fail_text(r, -PARLEY_ERR_BAD_JSON, "The JSON is nested deeper than 8.");
    r->open[r->depth++] = (struct open_object){.is_object = is_object, .key_base = (uint32_t)r->key_count};
    return 1;
}

static int on_start_map(void *ctx)
{
    struct json_reader *r = ctx;
    if (r->depth > 0 && take_field(r, JSON_FIELD_OBJECT))
        r->object_start = yajl_get_bytes_consumed(r->yajl) - 1;
    return open_value(r, true);
}

static int on_end_map(void *ctx)
{
    struct json_reader *r = ctx;
    r->key_count = r->open[--r->depth].key_base;
    end_value(r);
    if (r->depth == 1 && r->field && r->field->kind == JSON_FIELD_OBJECT)
        r->field->value.object =
            (struct span){r->text + r->object_start, yajl_get_bytes_consumed(r->yajl) - r->object_start};
    return 1;
}

static int on_start_array(void *ctx)
{
    struct json_reader *r = ctx;
    struct json_field *f = take_field(r, JSON_FIELD_STRINGS);
    if (f) {
        f->value.strings.items = r->elements + r->element_count;
        f->value.strings.count = 0;
    }
    return open_value(r, false);
}

static int on_end_array(void *ctx)
{
    struct json_reader *r = ctx;
    r->depth--;
    end_value(r);
    return 1;
}

static bool same(struct span a, const void *data, size_t len)
{
    return a.len == len && (len == 0 || memcmp(a.data, data, len) == 0);
}

static int on_key(void *ctx, const unsigned char *data, size_t len)
{
    struct json_reader *r = ctx;
    for (size_t i = r->open[r->depth - 1].key_base; i < r->key_count; i++)
        if (same(r->keys[i], data, len))
            return fail_text(r, -PARLEY_ERR_BAD_JSON, "An object of the JSON has a key twice.");
    if (r->key_count == JSON_OPEN_KEY_COUNT_MAX)
        return fail_text(r, -PARLEY_ERR_TOO_LARGE, "The JSON has too many keys.");
    r->keys[r->key_count++] = keep(r, data, len);
    if (r->depth > 1)
        return 1;
    r->field = NULL;
    if (!r->open[0].is_object)
        return 1;
    for (size_t i = 0; i < r->field_count; i++)
        if (strlen(r->fields[i].name) == len && memcmp(r->fields[i].name, data, len) == 0)
            r->field = &r->fields[i];
    return 1;
}

static int hex4(const uint8_t *at)
{
    int v = 0;
    for (int i = 0; i < 4; i++) {
        uint8_t c = at[i], letter = c | 0x20;
        if (c >= '0' && c <= '9')
            v = v << 4 | (c - '0');
        else if (letter >= 'a' && letter <= 'f')
            v = v << 4 | (letter - 'a' + 10);
        else
            return -1;
    }
    return v;
}

/* What yajl would let pass: blanks that are none in JSON, surrogates without their other half, and zeros, which
 * end strings early in somebody's C. A backslash outside of a string fails later anyway. NULL: all is well. */
static const char *bad_character(const uint8_t *text, size_t len)
{
    static const char surrogate[] = "A text of the JSON has a surrogate without its other half.";
    for (size_t i = 0; i < len; i++) {
        if (text[i] < ' ' && text[i] != '\n' && text[i] != '\t' && text[i] != '\r')
            return "The JSON has a control character that is not escaped.";
        if (text[i] != '\\' || ++i == len || text[i] != 'u')
            continue;
        int unit = len - i > 4 ? hex4(text + i + 1) : -1;
        if (unit <= 0)
            return unit < 0 ? "The JSON has a broken escape."
                            : "The JSON has U+0000, which no text may hold.";
        if (unit >= 0xdc00 && unit <= 0xdfff)
            return surrogate;
        i += 4;
        if (unit < 0xd800 || unit > 0xdbff)
            continue;
        int low = len - i > 6 && text[i + 1] == '\\' && text[i + 2] == 'u' ? hex4(text + i + 3) : -1;
        if (low < 0xdc00 || low > 0xdfff)
            return surrogate;
        i += 6;
    }
    return NULL;
}

struct json_reader *json_reader_create(uint32_t text_bytes_max)
{
    size_t arena_bytes = ARENA_BYTES_MIN + (size_t)ARENA_TEXTS * text_bytes_max;
    size_t head_bytes = (sizeof(struct json_reader) + BLOCK_ALIGN - 1) / BLOCK_ALIGN * BLOCK_ALIGN;
    uint8_t *block = memory_alloc(head_bytes + arena_bytes + text_bytes_max);
    if (!block)
        return NULL;
    struct json_reader *r = (struct json_reader *)block;
    memset(r, 0, sizeof *r);
    r->text_bytes_max = text_bytes_max;
    r->arena = block + head_bytes;
    r->arena_bytes = arena_bytes;
    r->scratch = r->arena + arena_bytes;
    return r;
}

void json_reader_destroy(struct json_reader **reader)
{
    memory_free(*reader);
    *reader = NULL;
}

static void begin(struct json_reader *r, const uint8_t *text, size_t len, struct json_field *fields,
                  size_t count)
{
    r->text = text;
    r->len = len;
    r->fields = fields;
    r->field_count = count;
    r->field = NULL;
    r->text_err = r->form_err = 0;
    r->fault = (struct fault){0};
    r->depth = 0;
    r->completing = false;
    r->value_end = 0;
    r->element_count = r->key_count = r->scratch_used = r->arena_used = 0;
    for (size_t i = 0; i < count; i++) {
        fields[i].present = false;
        memset(&fields[i].value, 0, sizeof fields[i].value);
    }
}

static int parse(struct json_reader *r)
{
    static const yajl_callbacks callbacks = {
        .yajl_null = on_null,
        .yajl_boolean = on_bool,
        .yajl_number = on_number,
        .yajl_string = on_string,
        .yajl_start_map = on_start_map,
        .yajl_map_key = on_key,
        .yajl_end_map = on_end_map,
        .yajl_start_array = on_start_array,
        .yajl_end_array = on_end_array,
    };
    yajl_alloc_funcs arena = {.malloc = arena_alloc, .realloc = arena_realloc, .free = arena_free, .ctx = r};
    r->yajl = yajl_alloc(&callbacks, &arena, r);
    yajl_config(r->yajl, yajl_dont_validate_strings, 1);
    yajl_status status = yajl_parse(r->yajl, r->text, r->len);
    r->completing = true;
    if (status == yajl_status_ok)
        status = yajl_complete_parse(r->yajl);
    yajl_free(r->yajl);
    r->yajl = NULL;
    if (r->text_err)
        return r->text_err;
    return status == yajl_status_ok && ends_in_blanks(r) ? 0 : -PARLEY_ERR_BAD_JSON;
}

static bool too_short_or_long(const struct json_field *f, struct span text, int *err)
{
    *err = text.len < f->bytes_min                   ? -PARLEY_ERR_BAD_REQUEST
           : f->bytes_max && text.len > f->bytes_max ? -PARLEY_ERR_TOO_LARGE
                                                     : 0;
    return *err != 0;
}

static void check_field(struct json_reader *r, const struct json_field *f)
{
    int err;
    if (!f->present) {
        if (f->required)
            fail_form(r, -PARLEY_ERR_BAD_REQUEST, f);
    } else if (f->kind == JSON_FIELD_STRING) {
        if (too_short_or_long(f, f->value.string, &err))
            fail_form(r, err, f);
    } else if (f->kind == JSON_FIELD_STRINGS) {
        for (size_t i = 0; i < f->value.strings.count; i++)
            if (too_short_or_long(f, f->value.strings.items[i], &err))
                fail_form(r, err, f);
    }
}

static int read_text(struct json_reader *r)
{
    if (r->len > r->text_bytes_max)
        return -PARLEY_ERR_TOO_LARGE;
    if (!utf8_stream_valid(r->text, r->len))
        return -PARLEY_ERR_BAD_UTF8;
    const char *why = r->len ? bad_character(r->text, r->len) : "There is no JSON: it must be an object.";
    if (why) {
        (void)fail_text(r, -PARLEY_ERR_BAD_JSON, why);
        return r->text_err;
    }
    return parse(r);
}

int json_read(struct json_reader *reader, const uint8_t *text, size_t len, struct json_field *fields,
              size_t count)
{
    begin(reader, text, len, fields, count);
    int err = read_text(reader);
    if (err &&
        !reader->text_err) /* yajl's grammar, or no text at all: a fault of the form is beside the point */
        reader->fault = (struct fault){0};
    for (size_t i = 0; i < count; i++) {
        if (err)
            fields[i].present = false;
        else
            check_field(reader, &fields[i]);
    }
    return err ? err : reader->form_err;
}

struct fault json_reader_fault(const struct json_reader *reader)
{
    return reader->fault;
}

bool json_id(struct span string, uint64_t *id)
{
    enum { DIGITS_MAX = 20 };
    uint64_t v = 0;
    if (string.len == 0 || string.len > DIGITS_MAX || (string.data[0] == '0' && string.len > 1))
        return false;
    for (size_t i = 0; i < string.len; i++) {
        if (string.data[i] < '0' || string.data[i] > '9')
            return false;
        if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, string.data[i] - '0', &v))
            return false;
    }
    *id = v;
    return true;
}
