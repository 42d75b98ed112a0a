/* src/server/secret.h: the key that a fresh install signs its tokens with.
 *
 * Shape:  DIR/secret, a key file (key_file.h), readable by the owner only; made when absent, for HS256.
 * Thread: start-up and tools; blocks.
 * Errors: as key_file_read's; DISK_FULL from secret_open.
 */
#ifndef PARLEY_SERVER_SECRET_H
#define PARLEY_SERVER_SECRET_H

#include "net/jwt.h"

PARLEY_MUST_USE int secret_read(const char *dir, struct jwt_key *key);
PARLEY_MUST_USE int secret_open(const char *dir, struct jwt_key *key);

#endif
