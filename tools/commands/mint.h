/* tools/commands/mint.h: bearer tokens, signed with the secret of a data folder or a key of one's own.
 *
 * Errors: what key_file_read and jwt_mint say, told on standard error.
 * Thread: any.
 */
#ifndef PARLEY_TOOLS_MINT_H
#define PARLEY_TOOLS_MINT_H

#include "net/jwt.h"

/* False: longer than a claim may be. */
PARLEY_MUST_USE bool mint_claim(char *to, uint16_t *len, size_t max, const char *text);
/* With the key in `key_file`, or, when that is NULL, with the secret of the data folder `dir`. */
PARLEY_MUST_USE int mint(const char *dir, const char *key_file, const struct jwt_claims *claims,
                         char token[JWT_TOKEN_BYTES_MAX + 1]);

#endif
