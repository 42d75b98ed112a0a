#include "src/server/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "src/base/error.h"
#include "src/server/durable_file.h"

enum { TEXT_BYTES = 2 * SECRET_BYTES + 1, PATH_BYTES = 4096 };

static int failure(void)
{
    return errno == ENOSPC || errno == EDQUOT ? -PARLEY_ERR_DISK_FULL : -PARLEY_ERR_IO;
}

int secret_read(const char *dir, uint8_t secret[SECRET_BYTES])
{
    char path[PATH_BYTES], text[TEXT_BYTES + 1];
    size_t got = 0;
    if (snprintf(path, sizeof path, "%s/secret", dir) >= PATH_BYTES)
        return -PARLEY_ERR_BAD_REQUEST;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? -PARLEY_ERR_NOT_FOUND : failure();
    ssize_t n = read(fd, text, sizeof text);
    close(fd);
    if (n < 0)
        return failure();
    bool good = n == TEXT_BYTES && text[TEXT_BYTES - 1] == '\n' &&
                sodium_hex2bin(secret, SECRET_BYTES, text, TEXT_BYTES - 1, NULL, &got, NULL) == 0 &&
                got == SECRET_BYTES;
    sodium_memzero(text, sizeof text);
    return good ? 0 : -PARLEY_ERR_CORRUPT;
}

static int create(const char *dir, uint8_t secret[SECRET_BYTES])
{
    char text[TEXT_BYTES + 1];
    randombytes_buf(secret, SECRET_BYTES);
    sodium_bin2hex(text, sizeof text, secret, SECRET_BYTES);
    text[TEXT_BYTES - 1] = '\n';
    int err = durable_file_write(dir, "secret", (struct span){(const uint8_t *)text, TEXT_BYTES});
    sodium_memzero(text, sizeof text);
    return err;
}

int secret_open(const char *dir, uint8_t secret[SECRET_BYTES])
{
    int err = secret_read(dir, secret);
    return err == -PARLEY_ERR_NOT_FOUND ? create(dir, secret) : err;
}
