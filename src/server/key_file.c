#include "src/server/key_file.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <string.h>
#include <unistd.h>

#include "src/base/error.h"

enum { FILE_BYTES_MAX = 1024, RAW_BYTES = 32, DER_BYTES_MAX = 64 };

/* RFC 8410's structures have one length: what comes before the key's 32 bytes is always the same. */
static const struct pem {
    const char *begin, *end, *der;
    size_t der_bytes;
    bool is_private;
} pems[] = {
    {"-----BEGIN PUBLIC KEY-----", "-----END PUBLIC KEY-----",
     "\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00", 12, false},
    {"-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----",
     "\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20", 16, true},
};

static int parse_pem(const struct pem *pem, const char *text, struct jwt_key *key)
{
    uint8_t der[DER_BYTES_MAX];
    size_t len = 0;
    const char *body = text + strlen(pem->begin), *end = strstr(body, pem->end);
    bool good = end && sodium_base642bin(der, sizeof der, body, (size_t)(end - body), "\r\n", &len, NULL,
                                         sodium_base64_VARIANT_ORIGINAL) == 0;
    good = good && len == pem->der_bytes + RAW_BYTES && memcmp(der, pem->der, pem->der_bytes) == 0;
    if (good && pem->is_private)
        jwt_key_ed25519_seed(key, der + pem->der_bytes);
    else if (good)
        jwt_key_ed25519_public(key, der + pem->der_bytes);
    sodium_memzero(der, sizeof der);
    return good ? 0 : -PARLEY_ERR_CORRUPT;
}

static int parse_secret(const char *text, size_t len, struct jwt_key *key)
{
    uint8_t secret[RAW_BYTES];
    size_t got = 0;
    len -= len && text[len - 1] == '\n';
    int err = -PARLEY_ERR_CORRUPT;
    if (sodium_hex2bin(secret, sizeof secret, text, len, NULL, &got, NULL) == 0 && got == RAW_BYTES &&
        len == 2 * (size_t)RAW_BYTES)
        err = jwt_key_hs256(key, secret, sizeof secret);
    sodium_memzero(secret, sizeof secret);
    return err;
}

static int parse(const char *text, size_t len, struct jwt_key *key)
{
    for (size_t i = 0; i < PARLEY_ARRAY_COUNT(pems); i++)
        if (strncmp(text, pems[i].begin, strlen(pems[i].begin)) == 0)
            return parse_pem(&pems[i], text, key);
    return parse_secret(text, len, key);
}

int key_file_read(const char *path, struct jwt_key *key)
{
    char text[FILE_BYTES_MAX + 1];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? -PARLEY_ERR_NOT_FOUND : -PARLEY_ERR_IO;
    ssize_t n = read(fd, text, FILE_BYTES_MAX);
    close(fd);
    if (n < 0)
        return -PARLEY_ERR_IO;
    text[n] = '\0';
    int err = parse(text, (size_t)n, key);
    sodium_memzero(text, sizeof text);
    return err;
}
