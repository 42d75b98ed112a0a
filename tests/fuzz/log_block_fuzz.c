/* storage/log_block.h and log_mark.h: a hostile block or mark, as it is or with checksums that are right, is refused, or means
 * bytes that are sealed again as the same. */
#include "src/base/crc32c.h"
#include "src/base/error.h"
#include "storage/log_block.h"
#include "storage/log_mark.h"
#include "tests/fuzz/fuzz.h"

enum { SALT = 77, MARK_CRC_OFFSET = 44, PAYLOAD_CRC_OFFSET = 56, HEADER_CRC_OFFSET = 60, SECTORS_MAX = 3 };

static void put_u32(uint8_t *at, uint32_t v)
{
    struct bytes_writer w = bytes_writer_of(at, sizeof v);
    bytes_put_u32(&w, v);
}

/* A writer that wrote nonsense. */
static void seal_as_it_is(uint8_t *block, size_t len)
{
    put_u32(block + PAYLOAD_CRC_OFFSET,
            crc32c(0, block + LOG_BLOCK_HEADER_BYTES, len - LOG_BLOCK_HEADER_BYTES));
    put_u32(block + HEADER_CRC_OFFSET, crc32c(SALT, block, HEADER_CRC_OFFSET));
}

/* Its records, written anew, are the block. */
static void check_records(const uint8_t *block, struct log_block_header header)
{
    size_t padded = log_block_padded_bytes(header.payload_bytes), at = LOG_BLOCK_HEADER_BYTES;
    struct log_block_cursor cursor = log_block_cursor_of(block, &header);
    uint8_t *again = calloc(1, padded);
    uint64_t position, expected = header.first_position;
    uint32_t events;
    struct span record;
    parley_assert(again);
    while (log_block_next_record(&cursor, &position, &events, &record)) {
        parley_assert(position == expected && at + LOG_BLOCK_PREFIX_BYTES + record.len <= padded);
        at += log_block_put_record(again + at, record.data, record.len, events);
        expected += events;
    }
    parley_assert(expected == header.first_position + header.event_count);
    log_block_seal(again, SALT, &header);
    parley_assert(memcmp(again, block, padded) == 0);
    free(again);
}

static void check_block(struct span bytes, bool sealed)
{
    size_t len = (bytes.len + LOG_BLOCK_ALIGN - 1) / LOG_BLOCK_ALIGN * LOG_BLOCK_ALIGN;
    struct log_block_header header;
    if (len == 0 || len > (size_t)SECTORS_MAX * LOG_BLOCK_ALIGN)
        return;
    uint8_t *block = calloc(1, len);
    parley_assert(block);
    memcpy(block, bytes.data, bytes.len);
    if (sealed)
        seal_as_it_is(block, len);
    int err = log_block_get_header(block, SALT, &header);
    parley_assert(err == 0 || err == -PARLEY_ERR_CORRUPT);
    /* Recovery looks for room before it reads on. */
    if (err == 0 && log_block_padded_bytes(header.payload_bytes) <= len &&
        log_block_check_payload(block, &header) == 0 && log_block_check_records(block, &header) == 0)
        check_records(block, header);
    free(block);
}

static void check_mark(struct span bytes, bool sealed)
{
    uint8_t *slot = calloc(2, LOG_BLOCK_ALIGN);
    struct log_mark mark;
    parley_assert(slot);
    memcpy(slot, bytes.data, bytes.len < LOG_BLOCK_ALIGN ? bytes.len : (size_t)LOG_BLOCK_ALIGN);
    if (sealed)
        put_u32(slot + MARK_CRC_OFFSET, crc32c(0, slot, MARK_CRC_OFFSET));
    if (log_mark_decode(slot, &mark) == 0) {
        log_mark_encode(slot + LOG_BLOCK_ALIGN, &mark);
        parley_assert(memcmp(slot, slot + LOG_BLOCK_ALIGN, LOG_BLOCK_ALIGN) == 0);
    }
    free(slot);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct bytes_reader r = bytes_reader_of(data, len);
    uint8_t how = bytes_get_u8(&r);
    struct span bytes = fuzz_rest(&r);
    if (bytes.len == 0)
        return 0;
    if (how & 2)
        check_mark(bytes, how & 1);
    else
        check_block(bytes, how & 1);
    return 0;
}
