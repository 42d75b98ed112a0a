/* net/jwt_verifier.h: verifies tokens, and remembers those that it has verified.
 *
 * Why:    a client sends the same token with every request; checking its signature anew costs more than reading a page of
 *         history. Time is judged at each use.
 * Shape:  a table with one place for a token, found by the end of its signature. Only what was rightly signed gets in, so
 *         that nobody without the key can fill it; two tokens of one place take turns. Tokens are compared in constant time.
 * Owner:  the verifier has a copy of the key, and wipes it and all tokens at its end.
 * Thread: one.
 * Errors: as jwt_verify's.
 */
#ifndef PARLEY_NET_JWT_VERIFIER_H
#define PARLEY_NET_JWT_VERIFIER_H

#include "net/jwt.h"

enum {
    JWT_REMEMBERED_MAX = 1024,
    JWT_REMEMBERED_BYTES_MAX = 512, /* longer tokens are verified each time */
};

struct jwt_verifier;

/* NULL: out of memory. */
struct jwt_verifier *jwt_verifier_create(const struct jwt_key *key);
void jwt_verifier_destroy(struct jwt_verifier **verifier);
PARLEY_MUST_USE int jwt_verifier_check(struct jwt_verifier *verifier, struct span token, uint64_t now_ms,
                                       struct jwt_claims *claims);
/* The second since 1970 at which these claims end. */
uint64_t jwt_verifier_end_s(const struct jwt_verifier *verifier, const struct jwt_claims *claims);
/* How many signatures it has checked. */
uint64_t jwt_verifier_checked(const struct jwt_verifier *verifier);

#endif
