/* storage/log_recover.h: what a log directory holds, judged block by block before anything is written.
 *
 * Why:    a torn tail is an accident of every power cut and is repaired; anything else that does not add up
 * is damage to acknowledged data, and the start is refused with the place. Rules:  1. Block numbers are
 * dense, positions continue, ceilings do not fall, each header names the checksum of the one before, within
 * and across segments. The first kept segment may begin anywhere.
 *         2. The tail is the last segment that is not all zeros. Only the tail may be torn: only one write is
 * ever in flight, and a new segment's first write begins after the older one's last is durable.
 *         3. A torn write spans at most one block: any of its 4 KiB pieces may be there. Non-zero bytes
 * further on, or a valid header with the expected or a higher number after the bad place, are damage.
 *         4. What the mark says was durable must be there, with the same checksum.
 *         5. Everything is synced before it is read: what was seen once stays.
 * Thread: start-up.
 */
#ifndef PARLEY_STORAGE_LOG_RECOVER_H
#define PARLEY_STORAGE_LOG_RECOVER_H

#include "storage/log_block.h"
#include "storage/log_mark.h"
#include "storage/log_segment.h"

/* Reads blocks of one file through a buffer. */
struct log_window {
    struct file_layer *files;
    int fd;
    uint8_t *data; /* aligned, as long as the longest block */
    uint64_t offset;
    size_t len, step_bytes; /* what it holds; what it reads at least */
    uint64_t limit;         /* it never reads beyond */
};
/* `len` bytes at `offset`, valid until the next call. Errors: -PARLEY_ERR_CORRUPT: beyond the limit. */
PARLEY_MUST_USE int log_window_get(struct log_window *window, uint64_t offset, size_t len,
                                   const uint8_t **data);

/* What the next block must say. */
struct log_chain {
    uint64_t number, position, ceiling;
    uint32_t previous_crc;
    bool open; /* no block seen yet: it may begin anywhere */
};
/* False when the header does not continue the chain. */
bool log_chain_accepts(const struct log_chain *chain, const struct log_block_header *header,
                       uint64_t segment_id);
void log_chain_advance(struct log_chain *chain, const struct log_block_header *header);

struct log_recovered {
    struct log_segment *first, *tail; /* oldest; the one to append to, its descriptor open */
    struct log_segment *spare;        /* empty, open, or NULL */
    struct log_chain chain;           /* what the next block will say */
    struct log_mark mark;
};

/* Errors: -PARLEY_ERR_CORRUPT, -PARLEY_ERR_LOST with the place in the report; -PARLEY_ERR_IO, NOMEM,
 * DISK_FULL. Owns: on success the caller destroys the segments. */
PARLEY_MUST_USE int log_recover(struct file_layer *files, const char *dir, uint64_t segment_bytes,
                                bool must_exist, struct log_report *report, struct log_recovered *out);
/* The same judgement, in *verdict, but nothing is written: *out has all segments, with what is good of each, and no
 * descriptor; first is NULL when there are none. Errors: -PARLEY_ERR_IO, -PARLEY_ERR_NOMEM. */
PARLEY_MUST_USE int log_recover_look(struct file_layer *files, const char *dir, uint64_t segment_bytes,
                                     bool must_exist, struct log_report *report, int *verdict,
                                     struct log_recovered *out);

#endif
