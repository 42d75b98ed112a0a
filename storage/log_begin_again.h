/* storage/log_begin_again.h: a new incarnation of a log whose old one is damaged.
 *
 * Why:    what a damaged log lacks cannot be brought back, but positions and ids must never be given twice.
 * Shape:  every segment and the mark get the suffix `.damaged` and stay; one new segment, of a new salt, begins with an
 *         empty block that carries where positions and ids go on; a new mark names that block.
 *         What was good of the old log is in the store before: nothing of it is read again.
 * Thread: repair only; blocks. A crash in between leaves a log that is refused, and begins again when it is repeated.
 * Errors: -PARLEY_ERR_IO, -PARLEY_ERR_DISK_FULL, -PARLEY_ERR_NOMEM.
 */
#ifndef PARLEY_STORAGE_LOG_BEGIN_AGAIN_H
#define PARLEY_STORAGE_LOG_BEGIN_AGAIN_H

#include "storage/log.h"

/* All above what the old log and the store have ever spoken of. */
struct log_beginning {
    uint64_t segment_id, block_number; /* at least 2: number 1 is the beginning of all */
    uint64_t position, ceiling;
};

PARLEY_MUST_USE int log_begin_again(struct file_layer *files, const char *dir, uint64_t segment_bytes,
                                    const struct log_beginning *at);

#endif
