/* Keys from files: each form, what one signs the other verifies, and damage is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sodium.h>
#include <cmocka.h>

#include "src/base/error.h"
#include "src/server/key_file.h"

enum { NOW_S = 1000000 };

/* As `openssl genpkey -algorithm ed25519` and `openssl pkey -pubout` write the first key of RFC 8032, section 7.1. */
static const char private_pem[] = "-----BEGIN PRIVATE KEY-----\n"
                                  "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n"
                                  "-----END PRIVATE KEY-----\n";
static const char public_pem[] = "-----BEGIN PUBLIC KEY-----\n"
                                 "MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n"
                                 "-----END PUBLIC KEY-----\n";
static const char hex[] = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n";

static char path[64];

static int read_as(const char *text, struct jwt_key *key)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
    return key_file_read(path, key);
}

static void what_one_signs_the_other_verifies(void **state)
{
    (void)state;
    struct jwt_key private, public, secret;
    struct jwt_claims claims = {.exp_s = NOW_S + 1, .sub_len = 3, .sub = "ann"}, got;
    char token[JWT_TOKEN_BYTES_MAX];
    struct json_reader *reader = json_reader_create(JWT_TOKEN_BYTES_MAX);
    assert_non_null(reader);
    assert_int_equal(read_as(private_pem, &private), 0);
    assert_int_equal(read_as(public_pem, &public), 0);
    assert_int_equal(read_as(hex, &secret), 0);
    assert_true(private.can_mint && !public.can_mint && secret.can_mint && secret.alg == JWT_HS256);
    struct span text = {(const uint8_t *)token, 0};
    assert_int_equal(jwt_mint(&private, &claims, token, &text.len), 0);
    assert_int_equal(jwt_verify(&public, reader, text, NOW_S * 1000, &got), 0);
    assert_int_equal(jwt_verify(&private, reader, text, NOW_S * 1000, &got), 0);
    assert_int_equal(jwt_verify(&secret, reader, text, NOW_S * 1000, &got), -PARLEY_ERR_BAD_TOKEN);
    assert_int_equal(jwt_mint(&secret, &claims, token, &text.len), 0);
    assert_int_equal(jwt_verify(&secret, reader, text, NOW_S * 1000, &got), 0);
    assert_int_equal(jwt_verify(&public, reader, text, NOW_S * 1000, &got), -PARLEY_ERR_BAD_TOKEN);
    json_reader_destroy(&reader);
}

static void what_is_no_key_is_refused(void **state)
{
    (void)state;
    struct jwt_key key;
    char text[512];
    static const char *const bad[] = {
        "",
        "\n",
        "secret",
        "00",
        "zz",
        "-----BEGIN PUBLIC KEY-----\n",
        "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n",
        "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHUQ==\n-----END "
        "PUBLIC KEY-----\n",
        "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VuAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END "
        "PUBLIC KEY-----\n",
        "-----BEGIN EC PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n",
    };
    for (size_t i = 0; i < PARLEY_ARRAY_COUNT(bad); i++)
        assert_int_equal(read_as(bad[i], &key), -PARLEY_ERR_CORRUPT);
    for (size_t cut = 0; cut < sizeof hex - 2; cut++) {
        snprintf(text, sizeof text, "%.*s\n", (int)cut, hex);
        assert_int_equal(read_as(text, &key), -PARLEY_ERR_CORRUPT);
    }
    memset(text, 'a', sizeof text);
    text[66] = 0; /* two digits more */
    assert_int_equal(read_as(text, &key), -PARLEY_ERR_CORRUPT);
    assert_int_equal(key_file_read("/nonexistent/key", &key), -PARLEY_ERR_NOT_FOUND);
    assert_int_equal(key_file_read("/", &key), -PARLEY_ERR_IO);
}

static int set_up(void **state)
{
    (void)state;
    snprintf(path, sizeof path, "/tmp/parley-key-XXXXXX");
    int fd = sodium_init() < 0 ? -1 : mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int tear_down(void **state)
{
    (void)state;
    return unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_one_signs_the_other_verifies),
        cmocka_unit_test(what_is_no_key_is_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
