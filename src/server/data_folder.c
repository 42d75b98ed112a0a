#include "src/server/data_folder.h"

#include "src/base/crc32c.h"
#include "src/base/error.h"
#include "src/server/durable_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_BYTES = 4096, IDENTITY_BYTES_MAX = 1024, SHARD_COUNT_MAX = 1024 };

static int system_error(char *text, const char *what, const char *path)
{
    int err = errno == ENOSPC || errno == EDQUOT ? PARLEY_ERR_DISK_FULL : PARLEY_ERR_IO;
    snprintf(text, DATA_FOLDER_TEXT_BYTES, "cannot %s %.300s: %s", what, path, strerror(errno));
    return -err;
}

static int path_of(char out[PATH_BYTES], const char *dir, const char *name, char *text)
{
    int n = snprintf(out, PATH_BYTES, "%s/%s", dir, name);
    if (n >= 0 && n < PATH_BYTES)
        return 0;
    snprintf(text, DATA_FOLDER_TEXT_BYTES, "the path of the data folder is too long");
    return -PARLEY_ERR_BAD_REQUEST;
}

static int lock(const char *dir, bool make, int *fd, char *text)
{
    char path[PATH_BYTES];
    int err = path_of(path, dir, "lock", text);
    if (err)
        return err;
    *fd = open(path, make ? O_RDWR | O_CREAT | O_CLOEXEC : O_RDONLY | O_CLOEXEC, 0600);
    if (*fd < 0 && errno == ENOENT && !make)
        return 0; /* nobody has run on it */
    if (*fd < 0)
        return system_error(text, "open", path);
    if (flock(*fd, LOCK_EX | LOCK_NB) == 0)
        return 0;
    close(*fd);
    *fd = -1;
    snprintf(text, DATA_FOLDER_TEXT_BYTES, "another parleyd runs on %.300s: stop it, or give another folder",
             dir);
    return -PARLEY_ERR_FULL;
}

static const char complete_line[] = "complete = yes\n";

static size_t identity_format(const struct data_folder *f, char out[IDENTITY_BYTES_MAX])
{
    char key[2 * HASH_KEY_BYTES + 1];
    sodium_bin2hex(key, sizeof key, f->key.bytes, sizeof f->key.bytes);
    int n = snprintf(out, IDENTITY_BYTES_MAX,
                     "format = %" PRIu32 "\nshards = %" PRIu32
                     "\nhash = siphash128\nkey = %s\nepoch = %" PRIu64 "\n%s",
                     f->format, f->shard_count, key, f->epoch, f->complete ? complete_line : "");
    parley_assert(n > 0 && n < IDENTITY_BYTES_MAX - 32);
    uint32_t crc = crc32c(0, out, (size_t)n);
    n += snprintf(out + n, IDENTITY_BYTES_MAX - (size_t)n, "crc32c = %08" PRIx32 "\n", crc);
    return (size_t)n;
}

/* Writing the parsed values again must give the same bytes: so every byte of the file is checked. */
static int identity_parse(struct data_folder *f, const char *have, size_t len)
{
    char key[2 * HASH_KEY_BYTES + 1], again[IDENTITY_BYTES_MAX];
    int fields = sscanf(have,
                        "format = %" SCNu32 " shards = %" SCNu32
                        " hash = siphash128 key = %32[0-9a-f] epoch = %" SCNu64,
                        &f->format, &f->shard_count, key, &f->epoch);
    size_t key_bytes = 0;
    f->complete = strstr(have, complete_line) != NULL;
    if (fields != 4 || f->shard_count == 0 || f->shard_count > SHARD_COUNT_MAX ||
        sodium_hex2bin(f->key.bytes, sizeof f->key.bytes, key, strlen(key), NULL, &key_bytes, NULL) != 0 ||
        key_bytes != HASH_KEY_BYTES)
        return -PARLEY_ERR_CORRUPT;
    return identity_format(f, again) == len && memcmp(again, have, len) == 0 ? 0 : -PARLEY_ERR_CORRUPT;
}

static int identity_read(const char *path, struct data_folder *f, char *text)
{
    char have[IDENTITY_BYTES_MAX + 1];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return -PARLEY_ERR_NOT_FOUND;
    if (fd < 0)
        return system_error(text, "open", path);
    ssize_t n = read(fd, have, IDENTITY_BYTES_MAX);
    int err = n < 0 ? system_error(text, "read", path) : 0;
    close(fd);
    if (err)
        return err;
    have[n] = '\0';
    err = identity_parse(f, have, (size_t)n);
    if (err)
        snprintf(text, DATA_FOLDER_TEXT_BYTES, "%.300s is damaged: restore it from a backup of this folder",
                 path);
    else if (f->format != DATA_FOLDER_FORMAT) {
        snprintf(text, DATA_FOLDER_TEXT_BYTES,
                 "the data folder has format %" PRIu32 ", this parleyd reads %d", f->format,
                 DATA_FOLDER_FORMAT);
        err = -PARLEY_ERR_BAD_REQUEST;
    }
    return err;
}

static int identity_write(const char *dir, const char *path, const struct data_folder *f, char *text)
{
    char bytes[IDENTITY_BYTES_MAX];
    size_t len = identity_format(f, bytes);
    int err = durable_file_write(dir, "identity", (struct span){(const uint8_t *)bytes, len});
    return err ? system_error(text, "write", path) : 0;
}

static bool has_shards(const char *dir)
{
    char shard[PATH_BYTES];
    struct stat st;
    int n = snprintf(shard, sizeof shard, "%s/shard-0000", dir);
    return n > 0 && n < PATH_BYTES && stat(shard, &st) == 0;
}

static int missing_identity(const char *path, char *text)
{
    snprintf(text, DATA_FOLDER_TEXT_BYTES, "%.300s is missing beside shards: restore it from a backup", path);
    return -PARLEY_ERR_CORRUPT;
}

/* The identity is gone or was never there. Only a folder without shards may be given a new one: another key
 * would hide every object in it. */
static int identity_create(const char *dir, const char *path, uint32_t shard_count, struct data_folder *f,
                           char *text)
{
    if (has_shards(dir))
        return missing_identity(path, text);
    f->format = DATA_FOLDER_FORMAT;
    f->shard_count = shard_count;
    f->epoch = 1;
    randombytes_buf(f->key.bytes, sizeof f->key.bytes);
    return identity_write(dir, path, f, text);
}

static int identity_open(const char *dir, uint32_t shard_count, uint32_t cores, struct data_folder *f,
                         char *text)
{
    char path[PATH_BYTES];
    int err = path_of(path, dir, "identity", text);
    if (err)
        return err;
    err = identity_read(path, f, text);
    if (err == -PARLEY_ERR_NOT_FOUND)
        return identity_create(dir, path, shard_count ? shard_count : cores, f, text);
    if (err || shard_count == 0 || shard_count == f->shard_count)
        return err;
    snprintf(text, DATA_FOLDER_TEXT_BYTES,
             "%.200s was created with %" PRIu32 " shards and %" PRIu32
             " were asked for: the count is frozen when the "
             "folder is created. Start without --server-shards, or with --server-shards %" PRIu32,
             dir, f->shard_count, shard_count, f->shard_count);
    return -PARLEY_ERR_BAD_REQUEST;
}

/* What is missing would be made anew, and its conversations would be gone without a word. A store may be missing: its
 * shard decides whether the log can bring it back. */
static int check_shards(const char *dir, const struct data_folder *f, char *text)
{
    static const char *const parts[] = {"", "/log"};
    for (uint32_t n = 0; f->complete && n < f->shard_count; n++)
        for (size_t i = 0; i < PARLEY_ARRAY_COUNT(parts); i++) {
            char name[32], path[PATH_BYTES];
            struct stat st;
            snprintf(name, sizeof name, "shard-%04" PRIu32 "%s", n, parts[i]);
            int err = path_of(path, dir, name, text);
            if (err)
                return err;
            if (stat(path, &st) == 0)
                continue;
            if (errno != ENOENT)
                return system_error(text, "look at", path);
            snprintf(text, DATA_FOLDER_TEXT_BYTES,
                     "%.300s is missing: put it back, or restore the whole data folder from a backup; "
                     "'parley verify' looks at the rest",
                     path);
            return -PARLEY_ERR_LOST;
        }
    return 0;
}

int data_folder_open(const char *dir, uint32_t shard_count, uint32_t cores, struct data_folder *out,
                     char text[DATA_FOLDER_TEXT_BYTES])
{
    *out = (struct data_folder){.lock_fd = -1};
    text[0] = '\0';
    if (sodium_init() < 0)
        return -PARLEY_ERR_INTERNAL;
    if (shard_count > SHARD_COUNT_MAX || cores == 0 || cores > SHARD_COUNT_MAX) {
        snprintf(text, DATA_FOLDER_TEXT_BYTES, "shards must be from 1 to %d", SHARD_COUNT_MAX);
        return -PARLEY_ERR_BAD_REQUEST;
    }
    if (durable_folder_make(dir) != 0)
        return system_error(text, "create", dir);
    int err = lock(dir, true, &out->lock_fd, text);
    if (err)
        return err;
    err = identity_open(dir, shard_count, cores, out, text);
    if (!err)
        err = check_shards(dir, out, text);
    if (err)
        data_folder_close(out);
    return err;
}

int data_folder_completed(const char *dir, struct data_folder *folder, char text[DATA_FOLDER_TEXT_BYTES])
{
    char path[PATH_BYTES];
    if (folder->complete)
        return 0;
    int err = path_of(path, dir, "identity", text);
    if (err)
        return err;
    folder->complete = true;
    err = identity_write(dir, path, folder, text);
    folder->complete = !err;
    return err;
}

int data_folder_look(const char *dir, bool make_lock, struct data_folder *out,
                     char text[DATA_FOLDER_TEXT_BYTES])
{
    char path[PATH_BYTES];
    *out = (struct data_folder){.lock_fd = -1};
    text[0] = '\0';
    if (sodium_init() < 0)
        return -PARLEY_ERR_INTERNAL;
    int err = path_of(path, dir, "identity", text);
    if (!err && access(path, F_OK) != 0 && !has_shards(dir)) {
        snprintf(text, DATA_FOLDER_TEXT_BYTES, "%.300s is no data folder", dir);
        err = -PARLEY_ERR_NOT_FOUND;
    }
    if (!err)
        err = lock(dir, make_lock, &out->lock_fd, text);
    if (err)
        return err;
    err = identity_read(path, out, text);
    if (err == -PARLEY_ERR_NOT_FOUND)
        err = missing_identity(path, text);
    if (err)
        data_folder_close(out);
    return err;
}

int data_folder_raise_epoch(const char *dir, struct data_folder *folder, char text[DATA_FOLDER_TEXT_BYTES])
{
    char path[PATH_BYTES];
    struct data_folder next = *folder;
    next.epoch++;
    int err = path_of(path, dir, "identity", text);
    if (!err)
        err = identity_write(dir, path, &next, text);
    if (!err)
        *folder = next;
    return err;
}

void data_folder_close(struct data_folder *folder)
{
    if (folder->lock_fd >= 0)
        close(folder->lock_fd);
    *folder = (struct data_folder){.lock_fd = -1};
}
