/* src/base/bytes.h: all wire and disk bytes pass through these two cursors.
 *
 * Why:    one place checks bounds; a damaged length can fail a read, never leave a buffer.
 * Shape:  little endian integers, LEB128 varints, bytes with a varint length. A cursor that once failed stays
 *         failed and answers zeros, so that callers check once, at the end.
 * Owner:  a cursor borrows its buffer; spans that it returns point into that buffer.
 */
#ifndef PARLEY_BASE_BYTES_H
#define PARLEY_BASE_BYTES_H

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
uint8_t bytes_get_u8(struct bytes_reader *r);
uint16_t bytes_get_u16(struct bytes_reader *r);
uint32_t bytes_get_u32(struct bytes_reader *r);
uint64_t bytes_get_u64(struct bytes_reader *r);
uint64_t bytes_get_varint(struct bytes_reader *r);
struct span bytes_get_raw(struct bytes_reader *r, size_t len);
struct span bytes_get_span(struct bytes_reader *r); /* varint length, then that many bytes */
struct id16 bytes_get_id16(struct bytes_reader *r);
/* True when nothing failed and nothing is left. */
bool bytes_reader_done(const struct bytes_reader *r);

struct bytes_writer bytes_writer_of(void *data, size_t len);
void bytes_put_u8(struct bytes_writer *w, uint8_t v);
void bytes_put_u16(struct bytes_writer *w, uint16_t v);
void bytes_put_u32(struct bytes_writer *w, uint32_t v);
void bytes_put_u64(struct bytes_writer *w, uint64_t v);
void bytes_put_varint(struct bytes_writer *w, uint64_t v);
void bytes_put_raw(struct bytes_writer *w, const void *data, size_t len);
void bytes_put_span(struct bytes_writer *w, struct span s);
void bytes_put_id16(struct bytes_writer *w, const struct id16 *id);
size_t bytes_writer_len(const struct bytes_writer *w);

#endif
