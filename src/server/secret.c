#include "src/server/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "src/base/error.h"

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
    char path[PATH_BYTES], temporary[PATH_BYTES], text[TEXT_BYTES + 1];
    int err = 0;
    if (snprintf(path, sizeof path, "%s/secret", dir) >= PATH_BYTES ||
        snprintf(temporary, sizeof temporary, "%s/secret.new", dir) >= PATH_BYTES)
        return -PARLEY_ERR_BAD_REQUEST;
    randombytes_buf(secret, SECRET_BYTES);
    sodium_bin2hex(text, sizeof text, secret, SECRET_BYTES);
    text[TEXT_BYTES - 1] = '\n';
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return failure();
    errno = ENOSPC; /* a short write sets no errno */
    if (write(fd, text, TEXT_BYTES) != TEXT_BYTES || fsync(fd) != 0)
        err = failure();
    close(fd);
    sodium_memzero(text, sizeof text);
    return !err && rename(temporary, path) != 0 ? failure() : err;
}

int secret_open(const char *dir, uint8_t secret[SECRET_BYTES])
{
    int err = secret_read(dir, secret);
    return err == -PARLEY_ERR_NOT_FOUND ? create(dir, secret) : err;
}
