/* net/jwt.h: the input as a token is never believed; signed with the right key it is believed only with claims that jansson
 * reads alike; and what is minted is verified. The first byte chooses; the input's lines are header and payload. */
#include <jansson.h>
#include <sodium.h>

#include "net/jwt.h"
#include "src/base/error.h"
#include "tests/fuzz/fuzz.h"

enum {
    NOW_MS = 1000000,
    MODE_RAW = 0,
    MODE_SIGNED,
    MODE_MINTED,
    MODE_COUNT,
    BASE64URL = sodium_base64_VARIANT_URLSAFE_NO_PADDING
};

static struct json_reader *reader;
static struct jwt_key key;

static void set_up(void)
{
    static const char secret[] = "a secret of more than 32 bytes....";
    reader = json_reader_create(JWT_TOKEN_BYTES_MAX);
    int err = jwt_key_hs256(&key, secret, sizeof secret - 1);
    parley_assert(reader && err == 0);
}

static size_t put_base64(char *to, struct span s)
{
    size_t room = sodium_base64_encoded_len(s.len, BASE64URL);
    sodium_bin2base64(to, room, s.data, s.len, BASE64URL);
    return room - 1;
}

static bool claim_is(const json_t *tree, const char *name, const char *text, size_t len)
{
    const json_t *value = json_object_get(tree, name);
    if (!value || json_is_null(value))
        return len == 0;
    return json_string_length(value) == len && memcmp(json_string_value(value), text, len) == 0;
}

static void check_claims(const struct jwt_claims *c, struct span payload)
{
    json_t *tree = json_loadb((const char *)payload.data, payload.len, JSON_REJECT_DUPLICATES, NULL);
    parley_assert(!tree ||
                  claim_is(tree, "sub", c->sub, c->sub_len)); /* a number may be too large for jansson */
    parley_assert(!tree || claim_is(tree, "device", c->device, c->device_len));
    parley_assert(!tree || claim_is(tree, "scope", c->scope, c->scope_len));
    parley_assert(!tree || json_integer_value(json_object_get(tree, "exp")) == (json_int_t)c->exp_s);
    parley_assert(c->sub_len > 0 && c->exp_s > NOW_MS / 1000 && c->nbf_s <= NOW_MS / 1000);
    json_decref(tree);
}

static void run_signed(struct bytes_reader *r)
{
    struct span header = fuzz_until(r, '\n'), payload = fuzz_rest(r);
    uint8_t signature[crypto_auth_hmacsha256_BYTES], opened[JWT_TOKEN_BYTES_MAX];
    struct jwt_claims claims;
    size_t opened_len, room = 2 * (header.len + payload.len) + 128;
    char *token = malloc(room);
    parley_assert(token);
    size_t len = put_base64(token, header);
    token[len++] = '.';
    len += put_base64(token + len, payload);
    crypto_auth_hmacsha256_state state;
    crypto_auth_hmacsha256_init(&state, (const uint8_t *)"a secret of more than 32 bytes....", 34);
    crypto_auth_hmacsha256_update(&state, (uint8_t *)token, len);
    crypto_auth_hmacsha256_final(&state, signature);
    token[len++] = '.';
    len += put_base64(token + len, (struct span){signature, sizeof signature});
    struct span text = {(uint8_t *)token, len};
    int err = jwt_verify(&key, reader, text, NOW_MS, &claims);
    parley_assert(err == 0 || err == -PARLEY_ERR_BAD_TOKEN || err == -PARLEY_ERR_TOKEN_EXPIRED);
    if (err != -PARLEY_ERR_BAD_TOKEN) {
        parley_assert(jwt_open(&key, reader, text, opened, &opened_len) == 0);
        parley_assert(fuzz_same(payload, (struct span){opened, opened_len}));
    }
    if (err == 0)
        check_claims(&claims, payload);
    free(token);
}

static void take_text(struct bytes_reader *r, char *to, size_t room, uint16_t *len)
{
    struct span s = fuzz_until(r, '\n');
    *len = (uint16_t)(s.len < room ? s.len : room);
    if (*len)
        memcpy(to, s.data, *len);
}

static void run_minted(struct bytes_reader *r)
{
    struct jwt_claims claims = {.exp_s = bytes_get_u16(r), .nbf_s = bytes_get_u16(r)}, again;
    char token[JWT_TOKEN_BYTES_MAX];
    size_t len;
    take_text(r, claims.sub, sizeof claims.sub, &claims.sub_len);
    take_text(r, claims.device, sizeof claims.device, &claims.device_len);
    take_text(r, claims.scope, sizeof claims.scope, &claims.scope_len);
    if (jwt_mint(&key, &claims, token, &len) != 0)
        return;
    int err = jwt_verify(&key, reader, (struct span){(uint8_t *)token, len}, NOW_MS, &again);
    parley_assert(err == jwt_check_time(&key, &claims, NOW_MS));
    parley_assert(err || (memcmp(&claims, &again, sizeof claims) == 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct bytes_reader r = bytes_reader_of(data, len);
    struct jwt_claims claims;
    if (!reader)
        set_up();
    switch (fuzz_below(&r, MODE_COUNT)) {
    case MODE_RAW:
        parley_assert(jwt_verify(&key, reader, fuzz_rest(&r), NOW_MS, &claims) == -PARLEY_ERR_BAD_TOKEN);
        break;
    case MODE_SIGNED:
        run_signed(&r);
        break;
    case MODE_MINTED:
        run_minted(&r);
        break;
    }
    return 0;
}
