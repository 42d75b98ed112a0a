/* src/server/key_file.h: the key that tokens are checked and minted with, from a file.
 *
 * Shape:  one of these, told apart by its first line:
 *         64 hexadecimal digits and a line feed, as DIR/secret is: HS256, mints and verifies;
 *         PEM, "PRIVATE KEY" (PKCS #8): Ed25519, mints and verifies: for a login service;
 *         PEM, "PUBLIC KEY": Ed25519, verifies only: what a server needs.
 *         `openssl genpkey -algorithm ed25519` and `openssl pkey -pubout` write such files.
 * Thread: start-up and tools; blocks.
 * Owner:  the key is the caller's, to wipe.
 * Errors: -PARLEY_ERR_CORRUPT: none of these; -PARLEY_ERR_NOT_FOUND; IO.
 * Source: RFC 7468 (PEM), RFC 8410 (Ed25519 in it).
 */
#ifndef PARLEY_SERVER_KEY_FILE_H
#define PARLEY_SERVER_KEY_FILE_H

#include "net/jwt.h"

/* For sentences about a file that is none. */
#define KEY_FILE_FORMS "an Ed25519 key in PEM, or a secret of 64 hexadecimal digits"

PARLEY_MUST_USE int key_file_read(const char *path, struct jwt_key *key);

#endif
