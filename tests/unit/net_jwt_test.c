/* Tokens: the RFCs' examples, and every way of getting in without the key. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <sodium.h>

#include "net/jwt.h"
#include "net/jwt_verifier.h"
#include "src/base/error.h"

/* RFC 7515 appendix A.1 */
#define A1_HEADER "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9"
#define A1_PAYLOAD                                                                                           \
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
#define A1_SIGNATURE "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
#define A1_KEY "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"
/* RFC 8037 appendix A.4 */
#define ED_TOKEN                                                                                             \
    "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc."                                              \
    "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
#define ED_SEED "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"

static const char SECRET[] = "a secret of more than 32 bytes....";
static const uint64_t NOW_MS = UINT64_C(1790000000000);
static struct json_reader *reader;
static struct jwt_key hs, ed, ed_public;

static size_t from_base64(const char *text, uint8_t *out, size_t room)
{
    size_t len = 0;
    assert_int_equal(sodium_base642bin(out, room, text, strlen(text), NULL, &len, NULL,
                                       sodium_base64_VARIANT_URLSAFE_NO_PADDING),
                     0);
    return len;
}

/* From a heap copy of exactly these bytes, so that the address sanitizer sees a read behind them. */
static int verify_bytes(const struct jwt_key *key, const char *token, size_t len, uint64_t now_ms,
                        struct jwt_claims *c)
{
    uint8_t *copy = malloc(len ? len : 1);
    assert_non_null(copy);
    memcpy(copy, token, len);
    int err = jwt_verify(key, reader, (struct span){copy, len}, now_ms, c);
    free(copy);
    return err;
}

static int verify(const struct jwt_key *key, const char *token)
{
    struct jwt_claims c;
    return verify_bytes(key, token, strlen(token), NOW_MS, &c);
}

static size_t append_base64(char *out, const void *data, size_t len)
{
    size_t room = sodium_base64_encoded_len(len, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    sodium_bin2base64(out, room, data, len, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    return room - 1;
}

/* A token of any header and payload, rightly signed with an HMAC over `secret`. */
static void sign(char out[4096], const char *header, const char *payload, const void *secret, size_t len)
{
    size_t n = append_base64(out, header, strlen(header));
    out[n++] = '.';
    n += append_base64(out + n, payload, strlen(payload));
    uint8_t mac[crypto_auth_hmacsha256_BYTES];
    crypto_auth_hmacsha256_state state;
    crypto_auth_hmacsha256_init(&state, secret, len);
    crypto_auth_hmacsha256_update(&state, (const uint8_t *)out, n);
    crypto_auth_hmacsha256_final(&state, mac);
    out[n++] = '.';
    append_base64(out + n, mac, sizeof mac);
}

static int verify_signed(const char *header, const char *payload)
{
    char token[4096];
    sign(token, header, payload, SECRET, sizeof SECRET - 1);
    return verify(&hs, token);
}

static struct jwt_claims alice(void)
{
    return (struct jwt_claims){.exp_s = NOW_MS / 1000 + 60,
                               .nbf_s = NOW_MS / 1000,
                               .sub_len = 5,
                               .device_len = 5,
                               .scope_len = 10,
                               .sub = "alice",
                               .device = "phone",
                               .scope = "read write"};
}

static void rfc_7515_a_1(void **state)
{
    (void)state;
    uint8_t secret[128], payload[JWT_TOKEN_BYTES_MAX];
    size_t len = from_base64(A1_KEY, secret, sizeof secret);
    struct jwt_key key;
    assert_int_equal(jwt_key_hs256(&key, secret, len), 0);
    static const char token[] = A1_HEADER "." A1_PAYLOAD "." A1_SIGNATURE;
    struct span span = {(const uint8_t *)token, sizeof token - 1};
    assert_int_equal(jwt_open(&key, reader, span, payload, &len), 0);
    static const char want[] =
        "{\"iss\":\"joe\",\r\n \"exp\":1300819380,\r\n \"http://example.com/is_root\":true}";
    assert_int_equal(len, sizeof want - 1);
    assert_memory_equal(payload, want, len);
    assert_int_equal(verify(&key, token), -PARLEY_ERR_BAD_TOKEN); /* it names nobody */
}

static void rfc_8037_a_4(void **state)
{
    (void)state;
    uint8_t seed[32], payload[JWT_TOKEN_BYTES_MAX];
    size_t len = from_base64(ED_SEED, seed, sizeof seed);
    assert_int_equal(len, 32);
    struct jwt_key key, public_key;
    jwt_key_ed25519_seed(&key, seed);
    jwt_key_ed25519_public(&public_key, key.verify);
    struct span token = {(const uint8_t *)ED_TOKEN, sizeof ED_TOKEN - 1};
    assert_int_equal(jwt_open(&public_key, reader, token, payload, &len), 0);
    assert_int_equal(len, 26);
    assert_memory_equal(payload, "Example of Ed25519 signing", 26);
    jwt_key_wipe(&key);
    assert_int_equal(key.alg, 0);
}

static void what_is_minted_verifies(void **state)
{
    (void)state;
    const struct jwt_key *const keys[] = {&hs, &ed};
    for (size_t i = 0; i < 2; i++) {
        struct jwt_claims c = alice(), back;
        char token[JWT_TOKEN_BYTES_MAX];
        size_t len;
        assert_int_equal(jwt_mint(keys[i], &c, token, &len), 0);
        assert_int_equal(verify_bytes(i ? &ed_public : &hs, token, len, NOW_MS, &back), 0);
        assert_memory_equal(&c, &back, offsetof(struct jwt_claims, scope) + sizeof c.scope);
        assert_true(jwt_has_scope(&back, "read") && jwt_has_scope(&back, "write"));
        assert_false(jwt_has_scope(&back, "rea") || jwt_has_scope(&back, "service"));
        assert_int_equal(verify_bytes(i ? &hs : &ed, token, len, NOW_MS, &back), -PARLEY_ERR_BAD_TOKEN);
    }
    struct jwt_claims c = alice();
    char token[JWT_TOKEN_BYTES_MAX];
    size_t len;
    memset(c.sub, 1, sizeof c.sub); /* six characters each when escaped */
    memset(c.device, 1, sizeof c.device);
    c.sub_len = c.device_len = 128;
    assert_int_equal(jwt_mint(&hs, &c, token, &len), -PARLEY_ERR_BAD_REQUEST);
    c.sub_len = 0;
    assert_int_equal(jwt_mint(&hs, &c, token, &len), -PARLEY_ERR_BAD_REQUEST);
    c.sub_len = JWT_SUB_BYTES_MAX + 1;
    assert_int_equal(jwt_mint(&hs, &c, token, &len), -PARLEY_ERR_BAD_REQUEST);
    assert_int_equal(jwt_key_hs256(&(struct jwt_key){0}, "short", 5), -PARLEY_ERR_BAD_REQUEST);
}

static void every_change_and_every_cut_is_refused(void **state)
{
    (void)state;
    const struct jwt_key *const keys[] = {&hs, &ed};
    for (size_t i = 0; i < 2; i++) {
        struct jwt_claims c = alice(), back = {.exp_s = 42};
        char token[JWT_TOKEN_BYTES_MAX];
        size_t len;
        assert_int_equal(jwt_mint(keys[i], &c, token, &len), 0);
        for (size_t at = 0; at < len; at++) {
            assert_int_equal(verify_bytes(keys[i], token, at, NOW_MS, &back), -PARLEY_ERR_BAD_TOKEN);
            /* All bytes where it is cheap: base64 decoders are kinder than they say. */
            for (unsigned flip = 1; flip < 256; flip += keys[i] == &hs ? 1 : flip) {
                token[at] ^= (char)flip;
                assert_int_equal(verify_bytes(keys[i], token, len, NOW_MS, &back), -PARLEY_ERR_BAD_TOKEN);
                token[at] ^= (char)flip;
            }
        }
        assert_int_equal(back.exp_s, 42);
        token[len] = '=';
        assert_int_equal(verify_bytes(keys[i], token, len + 1, NOW_MS, &back), -PARLEY_ERR_BAD_TOKEN);
        token[len] = '.';
        assert_int_equal(verify_bytes(keys[i], token, len + 1, NOW_MS, &back), -PARLEY_ERR_BAD_TOKEN);
    }
}

static void time_decides(void **state)
{
    (void)state;
    struct jwt_claims c = alice(), back;
    char token[JWT_TOKEN_BYTES_MAX];
    size_t len;
    assert_int_equal(jwt_mint(&hs, &c, token, &len), 0);
    assert_int_equal(verify_bytes(&hs, token, len, NOW_MS + 59999, &back), 0);
    assert_int_equal(verify_bytes(&hs, token, len, NOW_MS + 60000, &back), -PARLEY_ERR_TOKEN_EXPIRED);
    assert_int_equal(verify_bytes(&hs, token, len, NOW_MS - 1, &back), -PARLEY_ERR_TOKEN_EXPIRED);
    assert_int_equal(verify_bytes(&hs, token, len, 0, &back), -PARLEY_ERR_TOKEN_EXPIRED);
    assert_int_equal(verify_bytes(&hs, token, len, UINT64_MAX, &back), -PARLEY_ERR_TOKEN_EXPIRED);
    struct jwt_key lenient = hs;
    lenient.leeway_s = 30;
    assert_int_equal(verify_bytes(&lenient, token, len, NOW_MS + 89999, &back), 0);
    assert_int_equal(verify_bytes(&lenient, token, len, NOW_MS + 90000, &back), -PARLEY_ERR_TOKEN_EXPIRED);
    assert_int_equal(verify_bytes(&lenient, token, len, NOW_MS - 30000, &back), 0);
    assert_int_equal(verify_bytes(&lenient, token, len, NOW_MS - 30001, &back), -PARLEY_ERR_TOKEN_EXPIRED);
    c.exp_s = INT64_MAX;
    assert_int_equal(jwt_mint(&hs, &c, token, &len), 0);
    assert_int_equal(verify_bytes(&lenient, token, len, NOW_MS, &back), 0);
}

#define GOOD_PAYLOAD "{\"sub\":\"a\",\"exp\":1800000000}"

static void the_key_chooses_the_algorithm(void **state)
{
    (void)state;
    assert_int_equal(verify_signed("{\"alg\":\"HS256\"}", GOOD_PAYLOAD), 0);
    static const char *const bad[] = {
        "{\"alg\":\"none\"}",
        "{\"alg\":\"hs256\"}",
        "{\"alg\":\"HS512\"}",
        "{\"alg\":\"EdDSA\"}",
        "{\"alg\":\"\"}",
        "{\"alg\":null}",
        "{\"alg\":1}",
        "{\"alg\":[\"HS256\"]}",
        "{}",
        "[]",
        "",
        "{\"alg\":\"HS256\",\"alg\":\"HS256\"}",
        "{\"alg\":\"HS256\",\"crit\":[\"b64\"],\"b64\":false}",
        "{\"alg\":\"HS256\",\"crit\":[]}",
        "{\"alg\":\"HS256\",\"crit\":1}",
        "{\"alg\":\"HS256\"",
        "{\"alg\":\"HS256\",\"x\":[[[[[[[[[]]]]]]]]]}",
    };
    for (size_t i = 0; i < PARLEY_ARRAY_COUNT(bad); i++)
        assert_int_equal(verify_signed(bad[i], GOOD_PAYLOAD), -PARLEY_ERR_BAD_TOKEN);
    /* Without a signature, and with the public key taken for a secret. */
    char token[4096];
    sign(token, "{\"alg\":\"none\"}", GOOD_PAYLOAD, SECRET, sizeof SECRET - 1);
    *(strrchr(token, '.') + 1) = 0;
    assert_int_equal(verify(&hs, token), -PARLEY_ERR_BAD_TOKEN);
    assert_int_equal(verify(&ed_public, token), -PARLEY_ERR_BAD_TOKEN);
    sign(token, "{\"alg\":\"HS256\"}", GOOD_PAYLOAD, ed_public.verify, sizeof ed_public.verify);
    assert_int_equal(verify(&ed_public, token), -PARLEY_ERR_BAD_TOKEN);
}

static void claims_are_bounded(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "{\"sub\":\"a\"}",
        "{\"exp\":1800000000}",
        "{\"sub\":\"\",\"exp\":1800000000}",
        "{\"sub\":1,\"exp\":1800000000}",
        "{\"sub\":\"a\",\"exp\":\"1800000000\"}",
        "{\"sub\":\"a\",\"exp\":1800000000.5}",
        "{\"sub\":\"a\",\"exp\":-1}",
        "{\"sub\":\"a\",\"exp\":18000000000000000000}",
        "{\"sub\":\"a\",\"exp\":1800000000,\"nbf\":-1}",
        "{\"sub\":\"a\",\"exp\":1800000000,\"sub\":\"b\"}",
        "{\"sub\":\"a\",\"exp\":1800000000,\"x\":1,\"x\":1}",
        "{\"sub\":\"a\\u0000b\",\"exp\":1800000000}",
        "{\"sub\":\"\xff\",\"exp\":1800000000}",
        "{\"sub\":\"a\",\"exp\":1800000000,\"scope\":[\"service\"]}",
        "{\"sub\":\"a\",\"exp\":1800000000} x",
        "[]",
        "x",
    };
    for (size_t i = 0; i < PARLEY_ARRAY_COUNT(bad); i++)
        assert_int_equal(verify_signed("{\"alg\":\"HS256\"}", bad[i]), -PARLEY_ERR_BAD_TOKEN);
    char payload[4096], name[2000];
    memset(name, 'a', sizeof name);
    for (int len = JWT_SUB_BYTES_MAX; len <= JWT_SUB_BYTES_MAX + 1; len++) {
        snprintf(payload, sizeof payload, "{\"sub\":\"%.*s\",\"exp\":1800000000}", len, name);
        assert_int_equal(verify_signed("{\"alg\":\"HS256\"}", payload),
                         len <= JWT_SUB_BYTES_MAX ? 0 : -PARLEY_ERR_BAD_TOKEN);
    }
    snprintf(payload, sizeof payload, "{\"sub\":\"a\",\"exp\":1800000000,\"x\":\"%.*s\"}", 1990, name);
    assert_int_equal(verify_signed("{\"alg\":\"HS256\"}", payload), -PARLEY_ERR_BAD_TOKEN);
    assert_int_equal(verify_signed("{\"alg\":\"HS256\",\"kid\":\"../../dev/null\",\"jku\":\"http://x/\"}",
                                   "{\"sub\":\"a\",\"aud\":[\"x\"],\"exp\":1800000000,\"y\":{\"z\":[1.5]}}"),
                     0);
}

/* A key longer than HMAC's block counts as its hash. */
static void a_long_secret_is_hashed(void **state)
{
    (void)state;
    char secret[100], token[4096];
    memset(secret, 's', sizeof secret);
    struct jwt_key key;
    assert_int_equal(jwt_key_hs256(&key, secret, sizeof secret), 0);
    sign(token, "{\"alg\":\"HS256\"}", GOOD_PAYLOAD, secret, sizeof secret);
    assert_int_equal(verify(&key, token), 0);
}

static int set_up(void **state)
{
    (void)state;
    if (sodium_init() < 0)
        return -1;
    uint8_t seed[32] = {7};
    jwt_key_ed25519_seed(&ed, seed);
    jwt_key_ed25519_public(&ed_public, ed.verify);
    reader = json_reader_create(JWT_TOKEN_BYTES_MAX);
    return reader ? jwt_key_hs256(&hs, SECRET, sizeof SECRET - 1) : -1;
}

static int tear_down(void **state)
{
    (void)state;
    json_reader_destroy(&reader);
    return 0;
}

static size_t mint_for_a_minute(char token[JWT_TOKEN_BYTES_MAX])
{
    size_t len;
    struct jwt_claims c = {.exp_s = NOW_MS / 1000 + 60, .sub_len = 3, .sub = "ann"};
    assert_int_equal(jwt_mint(&hs, &c, token, &len), 0);
    return len;
}

static void a_verified_token_is_remembered_until_it_expires(void **state)
{
    (void)state;
    char token[JWT_TOKEN_BYTES_MAX];
    struct span span = {(const uint8_t *)token, mint_for_a_minute(token)};
    struct jwt_verifier *v = jwt_verifier_create(&hs);
    struct jwt_claims c = {0};
    assert_non_null(v);
    for (int i = 0; i < 3; i++) {
        c = (struct jwt_claims){0};
        assert_int_equal(jwt_verifier_check(v, span, NOW_MS, &c), 0);
        assert_int_equal(c.sub_len, 3);
        assert_memory_equal(c.sub, "ann", 3);
    }
    assert_int_equal(jwt_verifier_checked(v), 1);
    assert_int_equal(jwt_verifier_check(v, span, NOW_MS + 60000, &c), -PARLEY_ERR_TOKEN_EXPIRED);
    jwt_verifier_destroy(&v);
    assert_null(v);
}

/* Its end is that of a good token, so that it falls on the same place. */
static void a_forged_token_is_never_remembered(void **state)
{
    (void)state;
    char token[JWT_TOKEN_BYTES_MAX];
    struct span span = {(const uint8_t *)token, mint_for_a_minute(token)};
    struct jwt_verifier *v = jwt_verifier_create(&hs);
    struct jwt_claims c;
    assert_non_null(v);
    for (size_t i = 0; i < span.len; i++) {
        assert_int_equal(jwt_verifier_check(v, span, NOW_MS, &c), 0);
        token[i] ^= 1;
        assert_int_equal(jwt_verifier_check(v, span, NOW_MS, &c), -PARLEY_ERR_BAD_TOKEN);
        assert_int_equal(jwt_verifier_check(v, span, NOW_MS, &c), -PARLEY_ERR_BAD_TOKEN);
        token[i] ^= 1;
    }
    assert_int_equal(jwt_verifier_checked(v), 1 + 2 * span.len);
    jwt_verifier_destroy(&v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rfc_7515_a_1),
        cmocka_unit_test(rfc_8037_a_4),
        cmocka_unit_test(what_is_minted_verifies),
        cmocka_unit_test(every_change_and_every_cut_is_refused),
        cmocka_unit_test(time_decides),
        cmocka_unit_test(the_key_chooses_the_algorithm),
        cmocka_unit_test(claims_are_bounded),
        cmocka_unit_test(a_long_secret_is_hashed),
        cmocka_unit_test(a_verified_token_is_remembered_until_it_expires),
        cmocka_unit_test(a_forged_token_is_never_remembered),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
