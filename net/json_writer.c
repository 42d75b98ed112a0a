#include "net/json_writer.h"

#include "src/base/rfc3339.h"

#include <string.h>

struct json_writer json_writer_of(void *data, size_t len)
{
    return (struct json_writer){.out = bytes_writer_of(data, len)};
}

static void put_char(struct json_writer *w, char c)
{
    bytes_put_u8(&w->out, (uint8_t)c);
}

static void begin_value(struct json_writer *w)
{
    if (w->comma)
        put_char(w, ',');
    w->comma = true;
}

static void open_with(struct json_writer *w, char c)
{
    begin_value(w);
    put_char(w, c);
    w->comma = false;
}

static void close_with(struct json_writer *w, char c)
{
    put_char(w, c);
    w->comma = true;
}

void json_open_object(struct json_writer *w)
{
    open_with(w, '{');
}

void json_close_object(struct json_writer *w)
{
    close_with(w, '}');
}

void json_open_array(struct json_writer *w)
{
    open_with(w, '[');
}

void json_close_array(struct json_writer *w)
{
    close_with(w, ']');
}

void json_key(struct json_writer *w, const char *name)
{
    begin_value(w);
    put_char(w, '"');
    bytes_put_raw(&w->out, name, strlen(name));
    bytes_put_raw(&w->out, "\":", 2);
    w->comma = false;
}

static void put_escape(struct json_writer *w, uint8_t c)
{
    static const char names[] = "btn\0fr"; /* of 8 to 13; 11 has none */
    char escape[6] = "\\u00";
    size_t len = 2;
    if (c == '"' || c == '\\') {
        escape[1] = (char)c;
    } else if (c >= 8 && c <= 13 && names[c - 8]) {
        escape[1] = names[c - 8];
    } else {
        escape[4] = (char)('0' + (c >> 4));
        escape[5] = "0123456789abcdef"[c & 15];
        len = 6;
    }
    bytes_put_raw(&w->out, escape, len);
}

void json_put_string(struct json_writer *w, struct span s)
{
    begin_value(w);
    put_char(w, '"');
    size_t from = 0;
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = s.data[i];
        if (c >= ' ' && c != '"' && c != '\\')
            continue;
        bytes_put_raw(&w->out, s.data + from, i - from);
        put_escape(w, c);
        from = i + 1;
    }
    if (from < s.len)
        bytes_put_raw(&w->out, s.data + from, s.len - from);
    put_char(w, '"');
}

void json_put_text(struct json_writer *w, const char *s)
{
    json_put_string(w, (struct span){(const uint8_t *)s, strlen(s)});
}

static void put_digits(struct json_writer *w, uint64_t v)
{
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + v % 10);
        v /= 10;
    } while (v);
    bytes_put_raw(&w->out, digits + at, sizeof digits - at);
}

void json_put_int(struct json_writer *w, int64_t v)
{
    begin_value(w);
    if (v < 0)
        put_char(w, '-');
    put_digits(w, v < 0 ? -(uint64_t)v : (uint64_t)v);
}

void json_put_bool(struct json_writer *w, bool v)
{
    begin_value(w);
    bytes_put_raw(&w->out, v ? "true" : "false", v ? 4 : 5);
}

void json_put_null(struct json_writer *w)
{
    begin_value(w);
    bytes_put_raw(&w->out, "null", 4);
}

void json_put_id(struct json_writer *w, uint64_t id)
{
    begin_value(w);
    put_char(w, '"');
    put_digits(w, id);
    put_char(w, '"');
}

void json_put_time(struct json_writer *w, uint64_t unix_ms)
{
    char text[RFC3339_BYTES];
    rfc3339_format(unix_ms, text);
    json_put_string(w, (struct span){(const uint8_t *)text, sizeof text});
}

void json_put_raw(struct json_writer *w, struct span json)
{
    begin_value(w);
    bytes_put_raw(&w->out, json.data, json.len);
}

size_t json_writer_len(const struct json_writer *w)
{
    return bytes_writer_len(&w->out);
}
