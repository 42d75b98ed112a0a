/* The real file layer: plain system calls where blocking is allowed, io_uring where it is not. */
#include "storage/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/base/error.h"
#include "src/base/memory.h"

enum { SLOT_COUNT_MAX = 64, RING_ENTRIES = 64, ALIGN = 4096, PATH_BYTES_MAX = 4096 };

/* User space pointers leave the top byte free: it says whose completion it is. */
#define USER_DATA_TAG ((uint64_t)0xf1 << 56)
#define USER_DATA_TAG_MASK ((uint64_t)0xff << 56)

struct slot {
    struct file_uring *layer;
    struct slot *next_free;
    file_done_fn *done; /* NULL when free */
    void *owner;
    size_t len;
};

struct file_uring {
    struct file_layer base; /* first: the seam's pointer is ours */
    struct io_uring *ring;  /* &own, or the reactor's */
    struct io_uring own;
    struct slot slots[SLOT_COUNT_MAX];
    struct slot *free;
    uint32_t in_flight;
};

static struct file_uring *uring_of(struct file_layer *layer)
{
    return (struct file_uring *)layer;
}

static int error_of(int code)
{
    switch (code) {
    case ENOSPC:
    case EDQUOT:
        return -PARLEY_ERR_DISK_FULL;
    case ENOENT:
        return -PARLEY_ERR_NOT_FOUND;
    case ENOMEM:
        return -PARLEY_ERR_NOMEM;
    default:
        return -PARLEY_ERR_IO;
    }
}

static int uring_open(struct file_layer *layer, const char *path, enum file_mode mode, int *fd)
{
    (void)layer;
    int flags = O_CLOEXEC;
    if (mode == FILE_READ)
        flags |= O_RDONLY;
    else
        flags |= O_RDWR | O_DIRECT;
    if (mode == FILE_CREATE_NEW)
        flags |= O_CREAT | O_EXCL;
    *fd = open(path, flags, 0600);
    if (*fd < 0 && errno == EINVAL && (flags & O_DIRECT) != 0) {
        /* No O_DIRECT here. Some kernels have created the file before they say so. */
        if (mode == FILE_CREATE_NEW && unlink(path) != 0 && errno != ENOENT)
            return error_of(errno);
        *fd = open(path, flags & ~O_DIRECT, 0600);
    }
    if (*fd < 0)
        return error_of(errno);
    /* Readers share the file with a direct writer: no read-ahead into what is being written. */
    if (mode == FILE_READ)
        (void)posix_fadvise(*fd, 0, 0, POSIX_FADV_RANDOM);
    return 0;
}

static void uring_close(struct file_layer *layer, int fd)
{
    (void)layer;
    (void)close(fd); /* everything that matters was synced before */
}

static int uring_size(struct file_layer *layer, int fd, uint64_t *bytes)
{
    (void)layer;
    struct stat st;
    if (fstat(fd, &st) != 0)
        return error_of(errno);
    *bytes = (uint64_t)st.st_size;
    return 0;
}

static int64_t uring_read(struct file_layer *layer, int fd, void *data, size_t len, uint64_t offset)
{
    (void)layer;
    size_t got = 0;
    while (got < len) {
        ssize_t n = pread(fd, (uint8_t *)data + got, len - got, (off_t)(offset + got));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_of(errno);
        if (n == 0)
            break;
        got += (size_t)n;
        if (n % ALIGN != 0) /* the end of the file; a direct read could not go on from here */
            break;
    }
    return (int64_t)got;
}

static int uring_write(struct file_layer *layer, int fd, const void *data, size_t len, uint64_t offset)
{
    (void)layer;
    for (size_t at = 0; at < len;) {
        ssize_t n = pwrite(fd, (const uint8_t *)data + at, len - at, (off_t)(offset + at));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_of(errno);
        if (n == 0)
            return -PARLEY_ERR_IO;
        at += (size_t)n; /* when it was short, the rest says why */
    }
    return 0;
}

static int uring_sync(struct file_layer *layer, int fd)
{
    (void)layer;
    return fsync(fd) == 0 ? 0 : error_of(errno);
}

static int uring_sync_dir(struct file_layer *layer, const char *path)
{
    (void)layer;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return error_of(errno);
    int err = fsync(fd) == 0 ? 0 : error_of(errno);
    (void)close(fd);
    return err;
}

static int uring_rename(struct file_layer *layer, const char *from, const char *to)
{
    (void)layer;
    return rename(from, to) == 0 ? 0 : error_of(errno);
}

static int uring_unlink(struct file_layer *layer, const char *path)
{
    (void)layer;
    return unlink(path) == 0 ? 0 : error_of(errno);
}

static int uring_list(struct file_layer *layer, const char *dir, file_name_fn *fn, void *owner)
{
    (void)layer;
    DIR *d = opendir(dir);
    if (d == NULL)
        return error_of(errno);
    int err = 0;
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(d);
        if (entry == NULL) {
            err = errno == 0 ? 0 : error_of(errno);
            break;
        }
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        err = fn(owner, entry->d_name);
        if (err < 0)
            break;
    }
    (void)closedir(d);
    return err < 0 ? err : 0;
}

static int uring_make_dir(struct file_layer *layer, const char *path)
{
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return error_of(errno);
    /* Its name must be as durable as what will be in it; whoever made it may have died before this. */
    char parent[PATH_BYTES_MAX];
    if ((size_t)snprintf(parent, sizeof(parent), "%s", path) >= sizeof(parent))
        return -PARLEY_ERR_IO;
    char *slash = strrchr(parent, '/');
    if (slash == NULL)
        return uring_sync_dir(layer, ".");
    slash[slash == parent] = '\0';
    return uring_sync_dir(layer, parent);
}

static int uring_lock(struct file_layer *layer, const char *path, int *fd)
{
    (void)layer;
    *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (*fd < 0)
        return error_of(errno);
    if (flock(*fd, LOCK_EX | LOCK_NB) == 0)
        return 0;
    int err = errno == EWOULDBLOCK ? -PARLEY_ERR_FULL : error_of(errno);
    (void)close(*fd);
    *fd = -1;
    return err;
}

static int uring_submit(struct file_layer *layer, int fd, const void *data, size_t len, uint64_t offset,
                        file_done_fn *done, void *owner)
{
    struct file_uring *u = uring_of(layer);
    struct slot *slot = u->free;
    if (slot == NULL)
        return -PARLEY_ERR_FULL;
    struct io_uring_sqe *sqe = io_uring_get_sqe(u->ring);
    if (sqe == NULL)
        return -PARLEY_ERR_FULL;
    parley_assert(len <= INT32_MAX);
    u->free = slot->next_free;
    slot->done = done;
    slot->owner = owner;
    slot->len = len;
    io_uring_prep_write(sqe, fd, data, (unsigned)len, offset);
    sqe->rw_flags = RWF_DSYNC;
    io_uring_sqe_set_data64(sqe, USER_DATA_TAG | (uint64_t)(uintptr_t)slot);
    u->in_flight++;
    /* A submission that fails now stays queued; poll tries it again. */
    if (u->ring == &u->own)
        (void)io_uring_submit(u->ring);
    return 0;
}

bool file_layer_uring_owns(uint64_t user_data)
{
    return (user_data & USER_DATA_TAG_MASK) == USER_DATA_TAG;
}

void file_layer_uring_complete(uint64_t user_data, int result)
{
    parley_assert(file_layer_uring_owns(user_data));
    struct slot *slot = (struct slot *)(uintptr_t)(user_data & ~USER_DATA_TAG_MASK);
    struct file_uring *u = slot->layer;
    file_done_fn *done = slot->done;
    void *owner = slot->owner;
    parley_assert(done != NULL);
    int err = 0;
    if (result < 0)
        err = error_of(-result);
    else if ((size_t)result != slot->len)
        err = -PARLEY_ERR_IO; /* a short write: what was written is not to be trusted */
    slot->done = NULL;
    slot->next_free = u->free;
    u->free = slot;
    u->in_flight--;
    done(owner, err);
}

static void poll_own(struct file_uring *u, bool wait)
{
    if (io_uring_sq_ready(u->ring) > 0 || wait)
        (void)io_uring_submit_and_wait(u->ring, wait && u->in_flight > 0 ? 1 : 0);
    struct io_uring_cqe *cqe;
    while (io_uring_peek_cqe(u->ring, &cqe) == 0) {
        uint64_t user_data = cqe->user_data;
        int result = cqe->res;
        io_uring_cqe_seen(u->ring, cqe);
        file_layer_uring_complete(user_data, result);
    }
}

/* Takes ours out of the middle of the reactor's completions, and leaves the others to it. */
static uint32_t take_ours(struct file_uring *u)
{
    uint32_t taken = 0;
    unsigned head;
    struct io_uring_cqe *cqe;
    io_uring_for_each_cqe(u->ring, head, cqe)
    {
        uint64_t user_data = cqe->user_data;
        if (!file_layer_uring_owns(user_data))
            continue;
        const struct slot *slot = (struct slot *)(uintptr_t)(user_data & ~USER_DATA_TAG_MASK);
        if (slot->layer != u)
            continue;
        cqe->user_data = 0;
        taken++;
        file_layer_uring_complete(user_data, cqe->res);
    }
    return taken;
}

static void uring_poll(struct file_layer *layer, bool wait)
{
    struct file_uring *u = uring_of(layer);
    if (u->ring == &u->own) {
        poll_own(u, wait);
        return;
    }
    while (wait && u->in_flight > 0 && take_ours(u) == 0)
        (void)io_uring_submit_and_wait(u->ring, io_uring_cq_ready(u->ring) + 1);
}

static const struct file_layer_ops URING_OPS = {.open = uring_open,
                                                .close = uring_close,
                                                .size = uring_size,
                                                .read = uring_read,
                                                .write = uring_write,
                                                .sync = uring_sync,
                                                .sync_dir = uring_sync_dir,
                                                .rename = uring_rename,
                                                .unlink = uring_unlink,
                                                .list = uring_list,
                                                .make_dir = uring_make_dir,
                                                .lock = uring_lock,
                                                .submit = uring_submit,
                                                .poll = uring_poll};

int file_layer_uring_create(struct io_uring *ring, struct file_layer **out)
{
    struct file_uring *u = memory_zalloc(sizeof(*u));
    if (u == NULL)
        return -PARLEY_ERR_NOMEM;
    u->base.ops = &URING_OPS;
    u->ring = ring != NULL ? ring : &u->own;
    if (ring == NULL) {
        int code = io_uring_queue_init(RING_ENTRIES, &u->own, 0);
        if (code != 0) {
            memory_free(u);
            return error_of(-code);
        }
    }
    for (size_t i = 0; i < SLOT_COUNT_MAX; i++) {
        u->slots[i].layer = u;
        u->slots[i].next_free = u->free;
        u->free = &u->slots[i];
    }
    *out = &u->base;
    return 0;
}

void file_layer_uring_destroy(struct file_layer **layer)
{
    if (*layer == NULL)
        return;
    struct file_uring *u = uring_of(*layer);
    parley_assert(u->in_flight == 0);
    if (u->ring == &u->own)
        io_uring_queue_exit(&u->own);
    memory_free(u);
    *layer = NULL;
}
