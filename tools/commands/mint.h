/* tools/commands/mint.h: bearer tokens, signed with the secret of a data folder.
 *
 * Errors: what secret_read and jwt_mint say; a missing secret is also told on standard error.
 * Thread: any.
 */
#ifndef PARLEY_TOOLS_MINT_H
#define PARLEY_TOOLS_MINT_H

#include "net/jwt.h"

/* False: longer than a claim may be. */
PARLEY_MUST_USE bool mint_claim(char *to, uint16_t *len, size_t max, const char *text);
PARLEY_MUST_USE int mint(const char *dir, const struct jwt_claims *claims,
                         char token[JWT_TOKEN_BYTES_MAX + 1]);

#endif
