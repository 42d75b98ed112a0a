/* src/base/bytes.h: all wire and disk bytes pass through these two cursors.
 *
 * Why:    one place checks bounds; a damaged length can fail a read, never leave a buffer.
 * Shape:  little endian integers, LEB128 varints, bytes with a varint length. A cursor that once failed stays
 *         failed and answers zeros, so that callers check once, at the end.
 * Owner:  a cursor borrows its buffer; spans that it returns point into that buffer.
 * Thread: any; a cursor belongs to one at a time.
 */
#ifndef PARLEY_BASE_BYTES_H
#define PARLEY_BASE_BYTES_H

#include <endian.h>
#include <string.h>

#include "src/base/base.h"

struct bytes_reader {
    const uint8_t *at, *end;
    bool failed;
};

struct bytes_writer {
    uint8_t *start, *at, *end;
    bool failed; /* it did not fit */
};

struct bytes_reader bytes_reader_of(const void *data, size_t len);
uint64_t bytes_get_long_varint(struct bytes_reader *r);

/* Inline what each message passes through a hundred times. `len` bytes, or NULL and the reader has failed. */
static inline const uint8_t *bytes_take(struct bytes_reader *r, size_t len)
{
    const uint8_t *at = r->at;
    if (r->failed || len > (size_t)(r->end - at)) {
        r->failed = true;
        return NULL;
    }
    r->at = at + len;
    return at;
}

static inline struct span bytes_get_raw(struct bytes_reader *r, size_t len)
{
    const uint8_t *at = bytes_take(r, len);
    return at ? (struct span){at, len} : (struct span){0};
}

static inline uint8_t bytes_get_u8(struct bytes_reader *r)
{
    const uint8_t *at = bytes_take(r, 1);
    return at ? *at : 0;
}

uint16_t bytes_get_u16(struct bytes_reader *r);
uint32_t bytes_get_u32(struct bytes_reader *r);

static inline uint64_t bytes_get_u64(struct bytes_reader *r)
{
    const uint8_t *at = bytes_take(r, sizeof(uint64_t));
    uint64_t v = 0;
    if (at)
        memcpy(&v, at, sizeof v);
    return le64toh(v);
}

static inline uint64_t bytes_get_varint(struct bytes_reader *r)
{
    if (!r->failed && r->at < r->end && *r->at < 0x80) /* nearly all of them */
        return *r->at++;
    return bytes_get_long_varint(r);
}

/* Varint length, then that many bytes. */
static inline struct span bytes_get_span(struct bytes_reader *r)
{
    return bytes_get_raw(r, bytes_get_varint(r));
}

struct id16 bytes_get_id16(struct bytes_reader *r);
/* True when nothing failed and nothing is left. */
bool bytes_reader_done(const struct bytes_reader *r);

struct bytes_writer bytes_writer_of(void *data, size_t len);

static inline void bytes_put_u8(struct bytes_writer *w, uint8_t v)
{
    if (w->failed || w->at == w->end)
        w->failed = true;
    else
        *w->at++ = v;
}

void bytes_put_u16(struct bytes_writer *w, uint16_t v);
void bytes_put_u32(struct bytes_writer *w, uint32_t v);
void bytes_put_u64(struct bytes_writer *w, uint64_t v);
void bytes_put_long_varint(struct bytes_writer *w, uint64_t v);

static inline void bytes_put_varint(struct bytes_writer *w, uint64_t v)
{
    if (v < 0x80)
        bytes_put_u8(w, (uint8_t)v);
    else
        bytes_put_long_varint(w, v);
}

static inline void bytes_put_raw(struct bytes_writer *w, const void *data, size_t len)
{
    if (w->failed || len > (size_t)(w->end - w->at)) {
        w->failed = true;
        return;
    }
    if (len)
        memcpy(w->at, data, len);
    w->at += len;
}

static inline void bytes_put_span(struct bytes_writer *w, struct span s)
{
    bytes_put_varint(w, s.len);
    bytes_put_raw(w, s.data, s.len);
}

void bytes_put_id16(struct bytes_writer *w, const struct id16 *id);
size_t bytes_writer_len(const struct bytes_writer *w);

#endif
