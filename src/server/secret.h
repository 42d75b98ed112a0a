/* src/server/secret.h: the key that a fresh install signs its tokens with.
 *
 * Shape:  DIR/secret, 64 hexadecimal digits and a line feed, readable by the owner only; made when absent.
 * Thread: start-up and tools; blocks.
 * Errors: -PARLEY_ERR_CORRUPT: not such a file; -PARLEY_ERR_NOT_FOUND (read only); IO; DISK_FULL.
 */
#ifndef PARLEY_SERVER_SECRET_H
#define PARLEY_SERVER_SECRET_H

#include "src/base/base.h"

enum { SECRET_BYTES = 32 };

PARLEY_MUST_USE int secret_read(const char *dir, uint8_t secret[SECRET_BYTES]);
PARLEY_MUST_USE int secret_open(const char *dir, uint8_t secret[SECRET_BYTES]);

#endif
