/* storage/log_begin_again.h: a new incarnation of a log whose old one is damaged.
 *
 * Why:    what a damaged log lacks cannot be brought back, but positions and ids must never be given twice, and what is
 *         left of the old log is evidence.
 * Shape:  1. a new segment, of a new salt, with an empty block that carries where positions and ids go on; its id leaves a
 *            gap, so that whoever finds it beside an old segment refuses the log;
 *         2. every old segment and the mark get a suffix that no file has yet (`.damaged`, `.damaged.2`, ...) and stay;
 *         3. a new mark names the new block.
 *         A crash at any place leaves a log that log_inspect sees the new block of: either it is refused, and what begins
 *         again is above that block, or it is the new log already. What was good of the old log is in the store before.
 * Thread: repair only; blocks.
 * Errors: -PARLEY_ERR_IO, -PARLEY_ERR_DISK_FULL, -PARLEY_ERR_NOMEM.
 */
#ifndef PARLEY_STORAGE_LOG_BEGIN_AGAIN_H
#define PARLEY_STORAGE_LOG_BEGIN_AGAIN_H

#include "storage/log.h"

struct log_beginning {
    /* At least what log_inspect has seen; above what anybody else speaks of. */
    uint64_t position, ceiling;
};

/* `old` is what log_inspect said of the log. The number of the old files' suffix is in *aside: 1 for `.damaged`. */
PARLEY_MUST_USE int log_begin_again(struct file_layer *files, const char *dir, const struct log_report *old,
                                    const struct log_beginning *at, uint32_t *aside);

#endif
