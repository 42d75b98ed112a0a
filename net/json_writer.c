#include "net/json_writer.h"

#include "src/base/rfc3339.h"

#include <endian.h>
#include <string.h>

static const uint64_t EVERY_BYTE = 0x0101010101010101u;

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

/* Room for `len` bytes of a value, behind the comma; NULL and failed without. */
static uint8_t *begin_room(struct json_writer *w, size_t len)
{
    uint8_t *at = w->out.at;
    if (w->out.failed || len + w->comma > (size_t)(w->out.end - at)) {
        w->out.failed = true;
        return NULL;
    }
    *at = ',';
    at += w->comma;
    w->comma = true;
    return at;
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

void json_put_key(struct json_writer *w, const char *name, size_t len)
{
    uint8_t *at = begin_room(w, len + 3);
    if (!at)
        return;
    *at++ = '"';
    memcpy(at, name, len);
    memcpy(at + len, "\":", 2);
    w->out.at = at + len + 2;
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

/* A high bit in each byte of x that may be below `limit`, which is at most 0x80; the lowest one is. */
static uint64_t below(uint64_t x, uint64_t limit)
{
    return (x - EVERY_BYTE * limit) & ~x & (EVERY_BYTE * 0x80);
}

static bool is_plain(uint8_t c)
{
    return c >= ' ' && c != '"' && c != '\\';
}

/* Copies what needs no escape from the beginning on, eight bytes at a time, and answers how much. */
static size_t copy_plain(uint8_t *to, struct span s)
{
    size_t i = 0;
    for (; s.len - i >= sizeof(uint64_t); i += sizeof(uint64_t)) {
        uint64_t x;
        memcpy(&x, s.data + i, sizeof x);
        memcpy(to + i, &x, sizeof x);
        x = le64toh(x);
        uint64_t found = below(x, ' ') | below(x ^ (EVERY_BYTE * '"'), 1) | below(x ^ (EVERY_BYTE * '\\'), 1);
        if (found)
            return i + (size_t)__builtin_ctzll(found) / 8;
    }
    for (; i < s.len && is_plain(s.data[i]); i++)
        to[i] = s.data[i];
    return i;
}

void json_put_string(struct json_writer *w, struct span s)
{
    uint8_t *at = begin_room(w, s.len + 2);
    if (!at)
        return;
    *at++ = '"';
    for (;;) {
        size_t plain = copy_plain(at, s);
        w->out.at = at + plain;
        if (plain == s.len)
            break;
        put_escape(w, s.data[plain]);
        s = (struct span){s.data + plain + 1, s.len - plain - 1};
        at = w->out.at;
        if (w->out.failed ||
            s.len >= (size_t)(w->out.end - at)) { /* an escape takes more than was asked for */
            w->out.failed = true;
            return;
        }
    }
    put_char(w, '"');
}

void json_put_text(struct json_writer *w, const char *s)
{
    json_put_string(w, (struct span){(const uint8_t *)s, strlen(s)});
}

static void put_digits(struct json_writer *w, uint64_t v)
{
    static const char pairs[] =
        "00010203040506070809101112131415161718192021222324252627282930313233343536373839"
        "40414243444546474849505152535455565758596061626364656667686970717273747576777879"
        "8081828384858687888990919293949596979899";
    char digits[20];
    size_t at = sizeof digits;
    for (; v >= 100; v /= 100) {
        at -= 2;
        memcpy(digits + at, pairs + v % 100 * 2, 2);
    }
    if (v >= 10) {
        at -= 2;
        memcpy(digits + at, pairs + v * 2, 2);
    } else {
        digits[--at] = (char)('0' + v);
    }
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

void json_put_id(struct json_writer *w, uint64_t id)
{
    begin_value(w);
    put_char(w, '"');
    put_digits(w, id);
    put_char(w, '"');
}

void json_put_time(struct json_writer *w, uint64_t unix_ms)
{
    uint8_t *at = begin_room(w, RFC3339_BYTES + 2);
    if (!at)
        return;
    *at = '"';
    rfc3339_format(unix_ms, (char *)at + 1);
    at[1 + RFC3339_BYTES] = '"';
    w->out.at = at + RFC3339_BYTES + 2;
}

size_t json_writer_len(const struct json_writer *w)
{
    return bytes_writer_len(&w->out);
}
