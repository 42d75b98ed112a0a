/* storage/log_mark.h: the mark: what the log surely held when it was last idle.
 *
 * Why:    one copy cannot tell a rotten last acknowledged block from a torn one; the mark can.
 * Shape:  file `mark`, two slots of 4 KiB written in turn: a torn write leaves the other. The file appears,
 * by rename, with one valid slot, before the first segment; so a log without a mark has lost it. Thread:
 * pure; the blocking calls belong to start-up.
 * Errors: -PARLEY_ERR_NOT_FOUND: there is no file; -PARLEY_ERR_CORRUPT: no slot is valid; what the file layer says.
 */
#ifndef PARLEY_STORAGE_LOG_MARK_H
#define PARLEY_STORAGE_LOG_MARK_H

#include "storage/log.h"

struct log_mark {
    uint64_t generation;   /* 1 for the mark that an empty log begins with */
    uint64_t end;          /* position after the last durable event */
    uint64_t block_number; /* of the last durable block, 0 when there was none */
    uint64_t ceiling;
    uint32_t block_crc; /* its header checksum */
};

/* `slot` has LOG_BLOCK_ALIGN bytes. */
void log_mark_encode(uint8_t *slot, const struct log_mark *mark);
PARLEY_MUST_USE int log_mark_decode(const uint8_t *slot, struct log_mark *mark);
/* The slot that the next generation belongs to. */
uint64_t log_mark_offset(uint64_t generation);
/* Errors: -PARLEY_ERR_NOT_FOUND: no such file; -PARLEY_ERR_CORRUPT: neither slot is valid; -PARLEY_ERR_IO.
 * `scratch`: 8 KiB, 4 KiB aligned. */
PARLEY_MUST_USE int log_mark_read(struct file_layer *files, const char *dir, uint8_t *scratch,
                                  struct log_mark *mark);
/* A new file with this mark alone, in place of one that may be there. */
PARLEY_MUST_USE int log_mark_create(struct file_layer *files, const char *dir, uint8_t *scratch,
                                    const struct log_mark *mark);

#endif
