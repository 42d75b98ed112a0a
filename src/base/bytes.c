#include "src/base/bytes.h"

enum { VARINT_BYTES_MAX = 10 };

struct bytes_reader bytes_reader_of(const void *data, size_t len)
{
    const uint8_t *at = data;
    return (struct bytes_reader){.at = at, .end = len ? at + len : at};
}

uint16_t bytes_get_u16(struct bytes_reader *r)
{
    const uint8_t *at = bytes_take(r, sizeof(uint16_t));
    uint16_t v = 0;
    if (at)
        memcpy(&v, at, sizeof v);
    return le16toh(v);
}

uint32_t bytes_get_u32(struct bytes_reader *r)
{
    const uint8_t *at = bytes_take(r, sizeof(uint32_t));
    uint32_t v = 0;
    if (at)
        memcpy(&v, at, sizeof v);
    return le32toh(v);
}

uint64_t bytes_get_long_varint(struct bytes_reader *r)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < VARINT_BYTES_MAX; i++) {
        uint8_t b = bytes_get_u8(r);
        /* The tenth byte holds one bit; a zero last byte would be a second spelling of the same number. */
        if (r->failed || (i == VARINT_BYTES_MAX - 1 && b > 1) || (i > 0 && b == 0))
            break;
        v |= (uint64_t)(b & 0x7f) << (7 * i);
        if (b < 0x80)
            return v;
    }
    r->failed = true;
    return 0;
}

struct id16 bytes_get_id16(struct bytes_reader *r)
{
    struct id16 id = {{0}};
    struct span s = bytes_get_raw(r, sizeof id.bytes);
    if (s.len)
        memcpy(id.bytes, s.data, sizeof id.bytes);
    return id;
}

bool bytes_reader_done(const struct bytes_reader *r)
{
    return !r->failed && r->at == r->end;
}

struct bytes_writer bytes_writer_of(void *data, size_t len)
{
    uint8_t *at = data;
    return (struct bytes_writer){.start = at, .at = at, .end = len ? at + len : at};
}

void bytes_put_u16(struct bytes_writer *w, uint16_t v)
{
    v = htole16(v);
    bytes_put_raw(w, &v, sizeof v);
}

void bytes_put_u32(struct bytes_writer *w, uint32_t v)
{
    v = htole32(v);
    bytes_put_raw(w, &v, sizeof v);
}

void bytes_put_u64(struct bytes_writer *w, uint64_t v)
{
    v = htole64(v);
    bytes_put_raw(w, &v, sizeof v);
}

void bytes_put_long_varint(struct bytes_writer *w, uint64_t v)
{
    uint8_t b[VARINT_BYTES_MAX];
    size_t n = 0;
    for (; v >= 0x80; v >>= 7)
        b[n++] = (uint8_t)(v | 0x80);
    b[n++] = (uint8_t)v;
    bytes_put_raw(w, b, n);
}

void bytes_put_id16(struct bytes_writer *w, const struct id16 *id)
{
    bytes_put_raw(w, id->bytes, sizeof id->bytes);
}

size_t bytes_writer_len(const struct bytes_writer *w)
{
    return (size_t)(w->at - w->start);
}
