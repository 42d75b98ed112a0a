/* src/server/durable_file.h: writes a small file so that a power cut leaves the whole of it or none, and
 * makes the folder for it.
 *
 * Shape:  DIR/NAME.new -> sync -> rename to DIR/NAME -> sync of DIR. Readable by the owner only.
 * Thread: start-up only; blocks.
 * Errors: -PARLEY_ERR_IO, -PARLEY_ERR_DISK_FULL with errno set; -PARLEY_ERR_BAD_REQUEST: the path is too long.
 */
#ifndef PARLEY_SERVER_DURABLE_FILE_H
#define PARLEY_SERVER_DURABLE_FILE_H

#include "src/base/base.h"

/* A folder whose name is durable, whether it was there or not. */
PARLEY_MUST_USE int durable_folder_make(const char *dir);
PARLEY_MUST_USE int durable_file_write(const char *dir, const char *name, struct span bytes);

#endif
