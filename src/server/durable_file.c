#include "src/server/durable_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/base/error.h"

enum { PATH_BYTES = 4096 };

/* Closes, and answers by what went wrong before; errno stays that of the first failure. */
static int finish(int fd, bool good)
{
    int first = errno;
    close(fd);
    errno = first;
    if (good)
        return 0;
    return first == ENOSPC || first == EDQUOT ? -PARLEY_ERR_DISK_FULL : -PARLEY_ERR_IO;
}

int durable_file_write(const char *dir, const char *name, struct span bytes)
{
    char path[PATH_BYTES], temporary[PATH_BYTES];
    if (snprintf(path, sizeof path, "%s/%s", dir, name) >= PATH_BYTES ||
        snprintf(temporary, sizeof temporary, "%s/%s.new", dir, name) >= PATH_BYTES)
        return -PARLEY_ERR_BAD_REQUEST;
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return finish(fd, false);
    errno = ENOSPC; /* a short write sets no errno */
    int err = finish(fd, write(fd, bytes.data, bytes.len) == (ssize_t)bytes.len && fsync(fd) == 0);
    if (err)
        return err;
    fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return finish(fd, fd >= 0 && rename(temporary, path) == 0 && fsync(fd) == 0);
}

int durable_folder_make(const char *dir)
{
    bool made = mkdir(dir, 0700) == 0;
    if (!made && errno != EEXIST)
        return finish(-1, false);
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int parent = fd >= 0 ? openat(fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    bool hidden = parent < 0 && errno == EACCES && !made; /* whoever made it for us had to see to that */
    int err = finish(parent, hidden || (parent >= 0 && fsync(parent) == 0));
    if (fd >= 0)
        close(fd);
    return err;
}
