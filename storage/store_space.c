/* How much is free on the store's disk, and what that means. */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "src/base/error.h"
#include "storage/store_internal.h"

enum { GUARD_PART = 20 /* of the disk: 5 % */ };
static const uint64_t guard_bytes_min = UINT64_C(2) << 30;
/* For what an open or a new family writes to MANIFEST, OPTIONS and LOG: a quarter of it, with fifty families. */
static const uint64_t room_bytes_min = UINT64_C(2) << 20;

/* Where the disk cannot be asked there is no reason to refuse work: a write will say what is wrong. */
static bool ask(const struct store *store, struct statvfs *fs)
{
    return statvfs(store->dir, fs) == 0;
}

bool store_space_is_short(const struct store *store, uint64_t *free_bytes)
{
    struct statvfs fs;
    *free_bytes = 0;
    if (!ask(store, &fs))
        return false;
    uint64_t guard = store->options.space_guard_bytes;
    *free_bytes = fs.f_bavail * fs.f_frsize;
    if (!guard) {
        uint64_t part = fs.f_blocks / GUARD_PART * fs.f_frsize;
        guard = part > guard_bytes_min ? part : guard_bytes_min;
    }
    return *free_bytes < guard;
}

bool store_space_takes_a_file(const struct store *store)
{
    static const uint8_t some[64 << 10];
    char path[PATH_MAX + 16];
    snprintf(path, sizeof path, "%s/room.tmp", store->dir);
    int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    if (fd < 0)
        return false;
    bool taken = write(fd, some, sizeof some) == (ssize_t)sizeof some && fsync(fd) == 0;
    close(fd);
    (void)unlink(path);
    return taken;
}

int store_space_for_files(const struct store *store, char *text, size_t text_len)
{
    struct statvfs fs;
    if (!ask(store, &fs) || fs.f_bavail * fs.f_frsize >= room_bytes_min)
        return 0;
    snprintf(text, text_len, "the disk has %" PRIu64 " bytes free and the database needs %" PRIu64,
             (uint64_t)(fs.f_bavail * fs.f_frsize), room_bytes_min);
    return -PARLEY_ERR_DISK_FULL;
}
