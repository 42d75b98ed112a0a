/* storage/log_block.h: the bytes of one log block, and nothing else: no files, no state.
 *
 * Why:    one place decides what is a valid block; recovery, readers and tests judge by the same words.
 * Shape:  64 header bytes, then records (u32 length, u32 events, bytes), then zeros up to a multiple of 4
 * KiB. Salt:   each segment has a random salt, the seed of its headers' checksums. A client that writes the
 * image of a header into a message does not know it, so no payload is ever taken for a header. Thread: any.
 * Errors: -PARLEY_ERR_CORRUPT: these are not the bytes of a block.
 */
#ifndef PARLEY_STORAGE_LOG_BLOCK_H
#define PARLEY_STORAGE_LOG_BLOCK_H

#include "storage/log.h"

enum { LOG_BLOCK_HEADER_BYTES = 64, LOG_BLOCK_PREFIX_BYTES = 8, LOG_BLOCK_VERSION = 1 };

struct log_block_header {
    uint64_t segment_id, number, first_position, ceiling;
    uint32_t event_count, record_count, payload_bytes;
    uint32_t previous_crc; /* header checksum of block number - 1, 0 for block 1 */
    uint32_t payload_crc;  /* of everything behind the header, padding included */
    uint32_t header_crc;
};

/* Bytes on disk of a block with so much payload. */
size_t log_block_padded_bytes(size_t payload_bytes);
bool log_block_is_zero(const void *data, size_t len);
/* Completes a block whose payload is in place: pads it, computes both checksums, writes the header. */
void log_block_seal(uint8_t *block, uint32_t salt, struct log_block_header *header);
/* Errors: -PARLEY_ERR_CORRUPT: not a header of this salt and version. `data` holds LOG_BLOCK_HEADER_BYTES. */
PARLEY_MUST_USE int log_block_get_header(const uint8_t *data, uint32_t salt, struct log_block_header *header);
/* Errors: -PARLEY_ERR_CORRUPT: the payload's checksum differs: torn or rotten. */
PARLEY_MUST_USE int log_block_check_payload(const uint8_t *block, const struct log_block_header *header);
/* Errors: -PARLEY_ERR_CORRUPT: intact bytes that do not add up: a writer's mistake. */
PARLEY_MUST_USE int log_block_check_records(const uint8_t *block, const struct log_block_header *header);

/* Puts a record at `at`; answers the bytes it took. */
size_t log_block_put_record(uint8_t *at, const void *record, size_t len, uint32_t event_count);

struct log_block_cursor {
    const uint8_t *at, *end;
    uint64_t position; /* of the next record */
};
struct log_block_cursor log_block_cursor_of(const uint8_t *block, const struct log_block_header *header);
/* False at the end, or when what follows is no record. */
bool log_block_next_record(struct log_block_cursor *cursor, uint64_t *position, uint32_t *event_count,
                           struct span *data);

#endif
