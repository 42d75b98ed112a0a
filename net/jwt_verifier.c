#include "net/jwt_verifier.h"

#include <sodium.h>
#include <string.h>

#include "src/base/error.h"
#include "src/base/memory.h"

struct remembered {
    uint32_t len; /* 0: nothing */
    uint8_t token[JWT_REMEMBERED_BYTES_MAX];
    struct jwt_claims claims;
};

struct jwt_verifier {
    struct jwt_key key;
    struct json_reader *reader;
    struct remembered *places;
    uint64_t checked;
};

struct jwt_verifier *jwt_verifier_create(const struct jwt_key *key)
{
    struct jwt_verifier *v = memory_zalloc(sizeof *v);
    if (!v)
        return NULL;
    v->key = *key;
    v->reader = json_reader_create(JWT_TOKEN_BYTES_MAX);
    v->places = memory_zalloc(JWT_REMEMBERED_MAX * sizeof *v->places);
    if (!v->reader || !v->places)
        jwt_verifier_destroy(&v);
    return v;
}

void jwt_verifier_destroy(struct jwt_verifier **verifier)
{
    struct jwt_verifier *v = *verifier;
    if (!v)
        return;
    if (v->places)
        sodium_memzero(v->places, JWT_REMEMBERED_MAX * sizeof *v->places);
    memory_free(v->places);
    json_reader_destroy(&v->reader);
    jwt_key_wipe(&v->key);
    memory_free(v);
    *verifier = NULL;
}

/* NULL: a token that is too long or too short to remember. */
static struct remembered *place_of(struct jwt_verifier *v, struct span token)
{
    uint64_t end;
    if (token.len < sizeof end || token.len > JWT_REMEMBERED_BYTES_MAX)
        return NULL;
    memcpy(&end, token.data + token.len - sizeof end, sizeof end);
    return &v->places[(end * UINT64_C(0x9e3779b97f4a7c15) >> 32) % JWT_REMEMBERED_MAX];
}

int jwt_verifier_check(struct jwt_verifier *v, struct span token, uint64_t now_ms, struct jwt_claims *claims)
{
    struct remembered *place = place_of(v, token);
    if (place && place->len == token.len && sodium_memcmp(place->token, token.data, token.len) == 0) {
        int err = jwt_check_time(&v->key, &place->claims, now_ms);
        if (!err)
            *claims = place->claims;
        return err;
    }
    v->checked++;
    int err = jwt_verify(&v->key, v->reader, token, now_ms, claims);
    if (!err && place) {
        place->len = (uint32_t)token.len;
        memcpy(place->token, token.data, token.len);
        place->claims = *claims;
    }
    return err;
}

uint64_t jwt_verifier_end_s(const struct jwt_verifier *v, const struct jwt_claims *claims)
{
    return claims->exp_s + v->key.leeway_s;
}

uint64_t jwt_verifier_checked(const struct jwt_verifier *v)
{
    return v->checked;
}
