#include "net/query.h"

#include "net/utf8_stream.h"
#include "src/base/error.h"

#include <string.h>

struct query_scratch query_scratch_of(void *data, size_t len)
{
    uint8_t *at = data;
    return (struct query_scratch){.at = at, .end = len ? at + len : at};
}

static struct span cut_at(struct span *rest, uint8_t separator)
{
    const uint8_t *at = rest->len ? memchr(rest->data, separator, rest->len) : NULL;
    struct span head = {rest->data, at ? (size_t)(at - rest->data) : rest->len};
    size_t used = head.len + (at != NULL);
    *rest = (struct span){rest->len ? rest->data + used : rest->data, rest->len - used};
    return head;
}

void query_split(struct span target, struct span *path, struct span *query)
{
    *path = cut_at(&target, '?');
    *query = target;
}

static int hex(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int decode(struct span text, struct query_scratch *scratch, bool plus_is_blank, struct span *out)
{
    uint8_t *start = scratch->at, *at = start;
    if (text.len > (size_t)(scratch->end - start))
        return -PARLEY_ERR_BAD_REQUEST;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];
        if (c == '%') {
            int high = text.len - i > 2 ? hex(text.data[i + 1]) : -1;
            int low = high >= 0 ? hex(text.data[i + 2]) : -1;
            if (low < 0)
                return -PARLEY_ERR_BAD_REQUEST;
            c = (uint8_t)(high << 4 | low);
            i += 2;
        } else if (c == '+' && plus_is_blank) {
            c = ' ';
        } else if (c <= ' ' || c >= 0x7f) { /* a target is visible ASCII */
            return -PARLEY_ERR_BAD_REQUEST;
        }
        if (c < ' ' || c == 0x7f)
            return -PARLEY_ERR_BAD_REQUEST;
        *at++ = c;
    }
    *out = (struct span){start, (size_t)(at - start)};
    if (!utf8_stream_valid(out->data, out->len))
        return -PARLEY_ERR_BAD_UTF8;
    scratch->at = at;
    return 0;
}

static bool segment_allowed(struct span s)
{
    bool dots = s.len <= 2 && s.data[0] == '.' && s.data[s.len - 1] == '.';
    return !dots && memchr(s.data, '/', s.len) == NULL;
}

int query_path(struct span path, struct query_scratch *scratch, struct query_path *out)
{
    *out = (struct query_path){0};
    if (path.len == 0 || path.data[0] != '/')
        return -PARLEY_ERR_BAD_REQUEST;
    struct span rest = {path.data + 1, path.len - 1};
    if (rest.len == 0)
        return 0;
    if (rest.data[rest.len - 1] == '/') /* an empty segment, that the loop would not see */
        return -PARLEY_ERR_BAD_REQUEST;
    while (rest.len) {
        struct span segment = cut_at(&rest, '/');
        if (segment.len == 0 || out->count == QUERY_SEGMENT_COUNT_MAX)
            return -PARLEY_ERR_BAD_REQUEST;
        int err = decode(segment, scratch, false, &segment);
        if (err)
            return err;
        if (!segment_allowed(segment))
            return -PARLEY_ERR_BAD_REQUEST;
        out->segments[out->count++] = segment;
    }
    return 0;
}

static int take_param(struct span name, struct span value, struct query_param *params, size_t count,
                      struct fault *fault)
{
    for (size_t i = 0; i < count; i++) {
        if (name.len != strlen(params[i].name) || memcmp(name.data, params[i].name, name.len) != 0)
            continue;
        if (params[i].present) {
            *fault = (struct fault){params[i].name, "given once"};
            return -PARLEY_ERR_BAD_REQUEST;
        }
        params[i].present = true;
        params[i].value = value;
    }
    return 0;
}

int query_read(struct span query, struct query_scratch *scratch, struct query_param *params, size_t count,
               struct fault *fault)
{
    struct fault unwanted = {0};
    if (!fault)
        fault = &unwanted;
    *fault = unwanted;
    for (size_t i = 0; i < count; i++) {
        params[i].present = false;
        params[i].value = (struct span){0};
    }
    while (query.len) {
        struct span value = cut_at(&query, '&');
        struct span name = cut_at(&value, '=');
        int err = decode(name, scratch, true, &name);
        if (!err)
            err = decode(value, scratch, true, &value);
        if (err == -PARLEY_ERR_BAD_REQUEST)
            *fault = (struct fault){NULL, "The query is not percent-encoded text."};
        if (!err && name.len)
            err = take_param(name, value, params, count, fault);
        if (err)
            return err;
    }
    return 0;
}
