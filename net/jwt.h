/* net/jwt.h: bearer tokens: minted, and verified before anything else is believed.
 *
 * Why:    the token names the user and his device; every request stands on it.
 * Shape:  key + claims -> jwt_mint -> text;  text -> jwt_open (signature) -> payload -> jwt_verify -> claims.
 *         The algorithm is that of the configured key. The header's `alg` must merely agree: it can choose
 *         neither `none` nor to take a public key for a secret. `kid`, `jku`, `jwk` and `x5c` are not
 *         looked at, `crit` is refused, nothing is encrypted.
 * Owner:  keys and claims are plain values, wiped by jwt_key_wipe. Claims are copied out of the token.
 * Thread: any; the json_reader is the calling thread's.
 * Errors: PARLEY_ERR_BAD_TOKEN:     malformed, another algorithm, not signed with this key, or without `sub` or
 *                                   `exp`; which of them is not told;
 *         PARLEY_ERR_TOKEN_EXPIRED: signed, but `exp` has passed or `nbf` has not come;
 *         PARLEY_ERR_BAD_REQUEST:   a claim or a key of ours is out of its bounds.
 * Source: RFC 7515, 7519; 7518 section 3.2 (HS256), 8037 (EdDSA), 8725 (best current practices).
 */
#ifndef PARLEY_NET_JWT_H
#define PARLEY_NET_JWT_H

#include "net/json.h"

enum {
    JWT_TOKEN_BYTES_MAX = 2048,
    JWT_SUB_BYTES_MAX = 128,
    JWT_DEVICE_BYTES_MAX = 128,
    JWT_SCOPE_BYTES_MAX = 256,
    JWT_SECRET_BYTES_MIN = 32, /* RFC 7518: as long as the hash */
    JWT_LEEWAY_S_MAX = 300,
};

enum jwt_alg {
    JWT_HS256 = 1,
    JWT_EDDSA,
};

struct jwt_key {
    enum jwt_alg alg;
    bool can_mint;
    uint32_t leeway_s;  /* how far the issuer's clock may be off; 0 unless the caller sets it */
    uint8_t secret[64]; /* HMAC's block, or Ed25519's seed and public key */
    uint8_t verify[32]; /* Ed25519's public key */
};

struct jwt_claims {
    uint64_t exp_s, nbf_s; /* seconds since 1970; nbf 0: valid from ever */
    uint16_t sub_len, device_len, scope_len;
    char sub[JWT_SUB_BYTES_MAX];
    char device[JWT_DEVICE_BYTES_MAX]; /* empty when there was none */
    char scope[JWT_SCOPE_BYTES_MAX];   /* words between single blanks */
};

/* A secret of any length from JWT_SECRET_BYTES_MIN. */
PARLEY_MUST_USE int jwt_key_hs256(struct jwt_key *key, const void *secret, size_t len);
/* Mints and verifies. */
void jwt_key_ed25519_seed(struct jwt_key *key, const uint8_t seed[32]);
/* Verifies only. */
void jwt_key_ed25519_public(struct jwt_key *key, const uint8_t public_key[32]);
void jwt_key_wipe(struct jwt_key *key);

/* `out` gets *len bytes, without a terminating zero. */
PARLEY_MUST_USE int jwt_mint(const struct jwt_key *key, const struct jwt_claims *claims,
                             char out[JWT_TOKEN_BYTES_MAX], size_t *len);
/* Checks form, algorithm and signature; the payload, whatever it is, is decoded into `payload`. */
PARLEY_MUST_USE int jwt_open(const struct jwt_key *key, struct json_reader *reader, struct span token,
                             uint8_t payload[JWT_TOKEN_BYTES_MAX], size_t *payload_len);
/* The reader takes texts of JWT_TOKEN_BYTES_MAX. On error `claims` has not changed. */
PARLEY_MUST_USE int jwt_verify(const struct jwt_key *key, struct json_reader *reader, struct span token,
                               uint64_t now_ms, struct jwt_claims *claims);
/* Whether it is time for these claims: 0 or -PARLEY_ERR_TOKEN_EXPIRED. */
PARLEY_MUST_USE int jwt_check_time(const struct jwt_key *key, const struct jwt_claims *claims,
                                   uint64_t now_ms);
bool jwt_has_scope(const struct jwt_claims *claims, const char *word);

#endif
