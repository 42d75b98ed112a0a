#include "src/server/secret.h"

#include <sodium.h>
#include <stdio.h>

#include "src/base/error.h"
#include "src/server/durable_file.h"
#include "src/server/key_file.h"

enum { SECRET_BYTES = 32, TEXT_BYTES = 2 * SECRET_BYTES + 1, PATH_BYTES = 4096 };

int secret_read(const char *dir, struct jwt_key *key)
{
    char path[PATH_BYTES];
    if (snprintf(path, sizeof path, "%s/secret", dir) >= PATH_BYTES)
        return -PARLEY_ERR_BAD_REQUEST;
    return key_file_read(path, key);
}

static int create(const char *dir, struct jwt_key *key)
{
    uint8_t secret[SECRET_BYTES];
    char text[TEXT_BYTES + 1];
    randombytes_buf(secret, SECRET_BYTES);
    sodium_bin2hex(text, sizeof text, secret, SECRET_BYTES);
    text[TEXT_BYTES - 1] = '\n';
    int err = durable_file_write(dir, "secret", (struct span){(const uint8_t *)text, TEXT_BYTES});
    if (!err)
        err = jwt_key_hs256(key, secret, sizeof secret);
    sodium_memzero(secret, sizeof secret);
    sodium_memzero(text, sizeof text);
    return err;
}

int secret_open(const char *dir, struct jwt_key *key)
{
    int err = secret_read(dir, key);
    return err == -PARLEY_ERR_NOT_FOUND ? create(dir, key) : err;
}
