#include "storage/log_block.h"

#include <string.h>

#include "src/base/bytes.h"
#include "src/base/crc32c.h"
#include "src/base/error.h"

enum { MAGIC = 0x474f4c50, HEADER_CRC_OFFSET = 60 }; /* "PLOG" */

_Static_assert(LOG_BLOCK_HEADER_BYTES + LOG_BLOCK_PREFIX_BYTES + LOG_RECORD_BYTES_MAX <= LOG_BLOCK_BYTES_MAX,
               "the largest record fits an empty block");
_Static_assert(LOG_BLOCK_BYTES_MAX % LOG_BLOCK_ALIGN == 0, "blocks are whole sectors");

size_t log_block_padded_bytes(size_t payload_bytes)
{
    size_t align = LOG_BLOCK_ALIGN;
    return (LOG_BLOCK_HEADER_BYTES + payload_bytes + align - 1) / align * align;
}

bool log_block_is_zero(const void *data, size_t len)
{
    const uint8_t *p = data;
    return len == 0 || (p[0] == 0 && memcmp(p, p + 1, len - 1) == 0);
}

void log_block_seal(uint8_t *block, uint32_t salt, struct log_block_header *h)
{
    size_t used = LOG_BLOCK_HEADER_BYTES + (size_t)h->payload_bytes;
    size_t padded = log_block_padded_bytes(h->payload_bytes);
    parley_assert(padded <= LOG_BLOCK_BYTES_MAX);
    memset(block + used, 0, padded - used);
    h->payload_crc = crc32c(0, block + LOG_BLOCK_HEADER_BYTES, padded - LOG_BLOCK_HEADER_BYTES);
    struct bytes_writer w = bytes_writer_of(block, LOG_BLOCK_HEADER_BYTES);
    bytes_put_u32(&w, MAGIC);
    bytes_put_u16(&w, LOG_BLOCK_VERSION);
    bytes_put_u16(&w, 0);
    bytes_put_u64(&w, h->segment_id);
    bytes_put_u64(&w, h->number);
    bytes_put_u64(&w, h->first_position);
    bytes_put_u64(&w, h->ceiling);
    bytes_put_u32(&w, h->event_count);
    bytes_put_u32(&w, h->record_count);
    bytes_put_u32(&w, h->payload_bytes);
    bytes_put_u32(&w, h->previous_crc);
    bytes_put_u32(&w, h->payload_crc);
    parley_assert(bytes_writer_len(&w) == HEADER_CRC_OFFSET);
    h->header_crc = crc32c(salt, block, HEADER_CRC_OFFSET);
    bytes_put_u32(&w, h->header_crc);
    parley_assert(!w.failed);
}

int log_block_get_header(const uint8_t *data, uint32_t salt, struct log_block_header *h)
{
    struct bytes_reader r = bytes_reader_of(data, LOG_BLOCK_HEADER_BYTES);
    bool valid = bytes_get_u32(&r) == MAGIC;
    valid = bytes_get_u16(&r) == LOG_BLOCK_VERSION && valid;
    valid = bytes_get_u16(&r) == 0 && valid;
    if (!valid)
        return -PARLEY_ERR_CORRUPT;
    h->segment_id = bytes_get_u64(&r);
    h->number = bytes_get_u64(&r);
    h->first_position = bytes_get_u64(&r);
    h->ceiling = bytes_get_u64(&r);
    h->event_count = bytes_get_u32(&r);
    h->record_count = bytes_get_u32(&r);
    h->payload_bytes = bytes_get_u32(&r);
    h->previous_crc = bytes_get_u32(&r);
    h->payload_crc = bytes_get_u32(&r);
    h->header_crc = bytes_get_u32(&r);
    if (!bytes_reader_done(&r) || h->header_crc != crc32c(salt, data, HEADER_CRC_OFFSET))
        return -PARLEY_ERR_CORRUPT;
    if (h->payload_bytes > LOG_BLOCK_BYTES_MAX - LOG_BLOCK_HEADER_BYTES || h->number == 0 ||
        h->first_position == 0 || h->first_position > UINT64_MAX - h->event_count)
        return -PARLEY_ERR_CORRUPT;
    return 0;
}

int log_block_check_payload(const uint8_t *block, const struct log_block_header *h)
{
    size_t padded = log_block_padded_bytes(h->payload_bytes);
    uint32_t crc = crc32c(0, block + LOG_BLOCK_HEADER_BYTES, padded - LOG_BLOCK_HEADER_BYTES);
    return crc == h->payload_crc ? 0 : -PARLEY_ERR_CORRUPT;
}

int log_block_check_records(const uint8_t *block, const struct log_block_header *h)
{
    struct log_block_cursor cursor = log_block_cursor_of(block, h);
    uint64_t position, events = 0, records = 0;
    uint32_t event_count;
    struct span data;
    while (log_block_next_record(&cursor, &position, &event_count, &data)) {
        events += event_count;
        records++;
    }
    size_t used = LOG_BLOCK_HEADER_BYTES + (size_t)h->payload_bytes;
    bool whole = cursor.at == cursor.end && events == h->event_count && records == h->record_count;
    bool padded = log_block_is_zero(block + used, log_block_padded_bytes(h->payload_bytes) - used);
    return whole && padded ? 0 : -PARLEY_ERR_CORRUPT;
}

size_t log_block_put_record(uint8_t *at, const void *record, size_t len, uint32_t event_count)
{
    struct bytes_writer w = bytes_writer_of(at, LOG_BLOCK_PREFIX_BYTES + len);
    bytes_put_u32(&w, (uint32_t)len);
    bytes_put_u32(&w, event_count);
    bytes_put_raw(&w, record, len);
    parley_assert(!w.failed);
    return bytes_writer_len(&w);
}

struct log_block_cursor log_block_cursor_of(const uint8_t *block, const struct log_block_header *h)
{
    const uint8_t *at = block + LOG_BLOCK_HEADER_BYTES;
    return (struct log_block_cursor){.at = at, .end = at + h->payload_bytes, .position = h->first_position};
}

bool log_block_next_record(struct log_block_cursor *c, uint64_t *position, uint32_t *event_count,
                           struct span *data)
{
    struct bytes_reader r = bytes_reader_of(c->at, (size_t)(c->end - c->at));
    uint32_t len = bytes_get_u32(&r);
    uint32_t events = bytes_get_u32(&r);
    struct span bytes = bytes_get_raw(&r, len);
    if (r.failed || events == 0 || events > LOG_RECORD_EVENTS_MAX)
        return false;
    *position = c->position;
    *event_count = events;
    *data = bytes;
    c->at = r.at;
    c->position += events;
    return true;
}
