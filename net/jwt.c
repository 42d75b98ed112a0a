#include "net/jwt.h"

#include "net/json_writer.h"
#include "net/utf8_stream.h"
#include "src/base/error.h"

#include <sodium.h>
#include <string.h>

enum { BASE64URL = sodium_base64_VARIANT_URLSAFE_NO_PADDING, SIGNATURE_BYTES_MAX = 64, PARTS = 3 };
_Static_assert(crypto_sign_BYTES == SIGNATURE_BYTES_MAX, "Ed25519");
_Static_assert(crypto_auth_hmacsha256_BYTES <= SIGNATURE_BYTES_MAX, "HS256");
_Static_assert(sizeof((struct jwt_key *)0)->secret == crypto_sign_SECRETKEYBYTES, "seed and public key");
_Static_assert(sizeof((struct jwt_key *)0)->verify == crypto_sign_PUBLICKEYBYTES, "public key");

enum { HMAC_BLOCK_BYTES = 64 };

int jwt_key_hs256(struct jwt_key *key, const void *secret, size_t len)
{
    if (len < JWT_SECRET_BYTES_MIN)
        return -PARLEY_ERR_BAD_REQUEST;
    *key = (struct jwt_key){.alg = JWT_HS256, .can_mint = true};
    if (len <= HMAC_BLOCK_BYTES)
        memcpy(key->secret, secret, len); /* HMAC fills a short key with zeros itself */
    else
        crypto_hash_sha256(key->secret, secret, len); /* and hashes a long one */
    return 0;
}

void jwt_key_ed25519_seed(struct jwt_key *key, const uint8_t seed[32])
{
    *key = (struct jwt_key){.alg = JWT_EDDSA, .can_mint = true};
    crypto_sign_seed_keypair(key->verify, key->secret, seed);
}

void jwt_key_ed25519_public(struct jwt_key *key, const uint8_t public_key[32])
{
    *key = (struct jwt_key){.alg = JWT_EDDSA};
    memcpy(key->verify, public_key, sizeof key->verify);
}

void jwt_key_wipe(struct jwt_key *key)
{
    sodium_memzero(key, sizeof *key);
}

static const char *alg_name(enum jwt_alg alg)
{
    return alg == JWT_HS256 ? "HS256" : "EdDSA";
}

static void hmac(const struct jwt_key *key, struct span text, uint8_t out[crypto_auth_hmacsha256_BYTES])
{
    crypto_auth_hmacsha256_state state;
    crypto_auth_hmacsha256_init(&state, key->secret, sizeof key->secret);
    crypto_auth_hmacsha256_update(&state, text.data, text.len);
    crypto_auth_hmacsha256_final(&state, out);
    sodium_memzero(&state, sizeof state);
}

static bool signature_valid(const struct jwt_key *key, struct span text, const uint8_t *signature, size_t len)
{
    if (key->alg == JWT_EDDSA)
        return len == crypto_sign_BYTES &&
               crypto_sign_verify_detached(signature, text.data, text.len, key->verify) == 0;
    uint8_t want[crypto_auth_hmacsha256_BYTES];
    hmac(key, text, want);
    return len == sizeof want && sodium_memcmp(signature, want, sizeof want) == 0;
}

/* Strict: no padding, no other alphabet, no loose bits at the end. libsodium 1.0.18 takes some bytes from 128 on
 * for letters, where char has a sign. */
static bool decode(struct span text, uint8_t *out, size_t room, size_t *len)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.data[i] >= 0x80)
            return false;
    return sodium_base642bin(out, room, (const char *)text.data, text.len, NULL, len, NULL, BASE64URL) == 0;
}

static bool split(struct span token, struct span part[PARTS])
{
    for (int i = 0; i < PARTS; i++) {
        const uint8_t *dot = token.len ? memchr(token.data, '.', token.len) : NULL;
        if ((dot != NULL) != (i < PARTS - 1))
            return false;
        part[i] = (struct span){token.data, dot ? (size_t)(dot - token.data) : token.len};
        if (part[i].len == 0)
            return false;
        if (dot)
            token = (struct span){dot + 1, token.len - part[i].len - 1};
    }
    return true;
}

static bool span_is(struct span s, const char *text)
{
    return s.len == strlen(text) && memcmp(s.data, text, s.len) == 0;
}

/* `crit` asks to understand extensions, of which there are none here, so its mere presence refuses. It would be
 * an array of strings; as anything else the read fails, which refuses too. */
static bool header_allowed(const struct jwt_key *key, struct json_reader *reader, struct span header)
{
    struct json_field f[] = {
        {.name = "alg", .kind = JSON_FIELD_STRING, .required = true},
        {.name = "crit", .kind = JSON_FIELD_STRINGS},
    };
    return json_read(reader, header.data, header.len, f, PARLEY_ARRAY_COUNT(f)) == 0 &&
           span_is(f[0].value.string, alg_name(key->alg)) && !f[1].present;
}

int jwt_open(const struct jwt_key *key, struct json_reader *reader, struct span token,
             uint8_t payload[JWT_TOKEN_BYTES_MAX], size_t *payload_len)
{
    struct span part[PARTS];
    uint8_t signature[SIGNATURE_BYTES_MAX];
    size_t len;
    if (token.len > JWT_TOKEN_BYTES_MAX || !split(token, part) ||
        !decode(part[2], signature, sizeof signature, &len))
        return -PARLEY_ERR_BAD_TOKEN;
    struct span text = {part[0].data, part[0].len + 1 + part[1].len};
    if (!signature_valid(key, text, signature, len))
        return -PARLEY_ERR_BAD_TOKEN;
    /* Only what is signed gets parsed. */
    if (!decode(part[0], payload, JWT_TOKEN_BYTES_MAX, &len) ||
        !header_allowed(key, reader, (struct span){payload, len}) ||
        !decode(part[1], payload, JWT_TOKEN_BYTES_MAX, payload_len))
        return -PARLEY_ERR_BAD_TOKEN;
    return 0;
}

static bool copy_text(struct span s, char *out, size_t room, uint16_t *len)
{
    if (s.len > room || (s.len && memchr(s.data, '\0', s.len)))
        return false;
    if (s.len)
        memcpy(out, s.data, s.len);
    *len = (uint16_t)s.len;
    return true;
}

static bool claims_valid(struct json_reader *reader, struct span payload, struct jwt_claims *c)
{
    struct json_field f[] = {
        {.name = "sub", .kind = JSON_FIELD_STRING, .required = true},
        {.name = "exp", .kind = JSON_FIELD_INT, .required = true},
        {.name = "nbf", .kind = JSON_FIELD_INT},
        {.name = "device", .kind = JSON_FIELD_STRING},
        {.name = "scope", .kind = JSON_FIELD_STRING},
    };
    if (json_read(reader, payload.data, payload.len, f, PARLEY_ARRAY_COUNT(f)) != 0)
        return false;
    *c = (struct jwt_claims){0};
    if (f[1].value.integer < 0 || f[2].value.integer < 0)
        return false;
    c->exp_s = (uint64_t)f[1].value.integer;
    c->nbf_s = (uint64_t)f[2].value.integer;
    return copy_text(f[0].value.string, c->sub, sizeof c->sub, &c->sub_len) && c->sub_len > 0 &&
           copy_text(f[3].value.string, c->device, sizeof c->device, &c->device_len) &&
           copy_text(f[4].value.string, c->scope, sizeof c->scope, &c->scope_len);
}

int jwt_check_time(const struct jwt_key *key, const struct jwt_claims *c, uint64_t now_ms)
{
    parley_assert(key->leeway_s <= JWT_LEEWAY_S_MAX);
    uint64_t now_s = now_ms / 1000; /* both claims fit 63 bits: no sum below overflows */
    bool expired = now_s >= c->exp_s + key->leeway_s || now_s + key->leeway_s < c->nbf_s;
    return expired ? -PARLEY_ERR_TOKEN_EXPIRED : 0;
}

int jwt_verify(const struct jwt_key *key, struct json_reader *reader, struct span token, uint64_t now_ms,
               struct jwt_claims *claims)
{
    uint8_t payload[JWT_TOKEN_BYTES_MAX];
    size_t len;
    int err = jwt_open(key, reader, token, payload, &len);
    if (err)
        return err;
    struct jwt_claims c;
    if (!claims_valid(reader, (struct span){payload, len}, &c))
        return -PARLEY_ERR_BAD_TOKEN;
    err = jwt_check_time(key, &c, now_ms);
    if (!err)
        *claims = c;
    return err;
}

static size_t encode(char *out, const void *data, size_t len)
{
    size_t room = sodium_base64_encoded_len(len, BASE64URL);
    sodium_bin2base64(out, room, data, len, BASE64URL);
    return room - 1; /* the terminating zero, over which the next part is written */
}

static struct span span_of(const char *text, size_t len)
{
    return (struct span){(const uint8_t *)text, len};
}

static size_t write_payload(const struct jwt_claims *c, void *out, size_t room)
{
    struct json_writer w = json_writer_of(out, room);
    json_open_object(&w);
    json_key(&w, "sub");
    json_put_string(&w, span_of(c->sub, c->sub_len));
    if (c->device_len) {
        json_key(&w, "device");
        json_put_string(&w, span_of(c->device, c->device_len));
    }
    if (c->scope_len) {
        json_key(&w, "scope");
        json_put_string(&w, span_of(c->scope, c->scope_len));
    }
    if (c->nbf_s) {
        json_key(&w, "nbf");
        json_put_int(&w, (int64_t)c->nbf_s);
    }
    json_key(&w, "exp");
    json_put_int(&w, (int64_t)c->exp_s);
    json_close_object(&w);
    return w.out.failed ? 0 : json_writer_len(&w);
}

/* What the reader of a token would refuse is not minted. */
static bool text_valid(const char *text, size_t len)
{
    return memchr(text, '\0', len) == NULL && utf8_stream_valid((const uint8_t *)text, len);
}

int jwt_mint(const struct jwt_key *key, const struct jwt_claims *claims, char out[JWT_TOKEN_BYTES_MAX],
             size_t *len)
{
    /* Room for head, signature and two dots stays: 43 + 86 + 2. */
    enum { PAYLOAD_BYTES_MAX = 1400 };
    _Static_assert((PAYLOAD_BYTES_MAX + 2) / 3 * 4 + 160 <= JWT_TOKEN_BYTES_MAX, "the token has room");
    parley_assert(key->can_mint);
    if (claims->sub_len == 0 || claims->sub_len > JWT_SUB_BYTES_MAX ||
        claims->device_len > JWT_DEVICE_BYTES_MAX || claims->scope_len > JWT_SCOPE_BYTES_MAX ||
        claims->exp_s > INT64_MAX || claims->nbf_s > INT64_MAX || !text_valid(claims->sub, claims->sub_len) ||
        !text_valid(claims->device, claims->device_len) || !text_valid(claims->scope, claims->scope_len))
        return -PARLEY_ERR_BAD_REQUEST;
    char header[64], payload[PAYLOAD_BYTES_MAX];
    size_t payload_len = write_payload(claims, payload, sizeof payload);
    if (payload_len == 0)
        return -PARLEY_ERR_BAD_REQUEST;
    struct json_writer w = json_writer_of(header, sizeof header);
    json_open_object(&w);
    json_key(&w, "alg");
    json_put_text(&w, alg_name(key->alg));
    json_key(&w, "typ");
    json_put_text(&w, "JWT");
    json_close_object(&w);
    size_t at = encode(out, header, json_writer_len(&w));
    out[at++] = '.';
    at += encode(out + at, payload, payload_len);
    uint8_t signature[SIGNATURE_BYTES_MAX];
    size_t signature_len = crypto_sign_BYTES;
    if (key->alg == JWT_EDDSA) {
        crypto_sign_detached(signature, NULL, (const uint8_t *)out, at, key->secret);
    } else {
        hmac(key, span_of(out, at), signature);
        signature_len = crypto_auth_hmacsha256_BYTES;
    }
    out[at++] = '.';
    *len = at + encode(out + at, signature, signature_len);
    return 0;
}

bool jwt_has_scope(const struct jwt_claims *claims, const char *word)
{
    size_t len = strlen(word), at = 0;
    while (at < claims->scope_len) {
        const char *from = claims->scope + at;
        const char *blank = memchr(from, ' ', claims->scope_len - at);
        size_t n = blank ? (size_t)(blank - from) : claims->scope_len - at;
        if (n == len && memcmp(from, word, n) == 0)
            return true;
        at += n + 1;
    }
    return false;
}
