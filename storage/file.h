/* storage/file.h: the file layer seam below the commit log.
 *
 * Why:    the log must be provable: a simulated twin (tests/lib/sim_file.h) loses, tears and fails unsynced
 * writes. Shape:  blocking calls for start-up, recovery and the helper thread; one asynchronous durable write
 * for the reactor. Thread: blocking calls from any thread that may block, never from a running reactor.
 * `submit` and `poll` only from the thread that made the layer. Errors: 0 (or a byte count) or -PARLEY_ERR_IO
 * / -PARLEY_ERR_DISK_FULL / -PARLEY_ERR_NOT_FOUND; any failed write or sync is final for the caller: it is
 * never retried.
 */
#ifndef PARLEY_STORAGE_FILE_H
#define PARLEY_STORAGE_FILE_H

#include "src/base/base.h"

enum file_mode {
    FILE_READ,      /* O_RDONLY */
    FILE_WRITE,     /* O_RDWR | O_DIRECT where the file system has it */
    FILE_CREATE_NEW /* O_RDWR | O_CREAT | O_EXCL | O_DIRECT */
};

/* Called by poll: `result` is 0 when all bytes are durable, else a negative enum parley_err. */
typedef void file_done_fn(void *owner, int result);
/* Called for each name in a directory, in no order. A negative answer ends the listing and is returned. */
typedef int file_name_fn(void *owner, const char *name);

struct file_layer;

struct file_layer_ops {
    int (*open)(struct file_layer *layer, const char *path, enum file_mode mode, int *fd);
    void (*close)(struct file_layer *layer, int fd);
    int (*size)(struct file_layer *layer, int fd, uint64_t *bytes);
    /* Bytes read, fewer only at the end of the file. `data` is 4 KiB aligned, as are `len` and `offset`. */
    int64_t (*read)(struct file_layer *layer, int fd, void *data, size_t len, uint64_t offset);
    /* All bytes or an error. Not durable before `sync`. Aligned as above. */
    int (*write)(struct file_layer *layer, int fd, const void *data, size_t len, uint64_t offset);
    int (*sync)(struct file_layer *layer, int fd);
    int (*sync_dir)(struct file_layer *layer, const char *path);
    int (*rename)(struct file_layer *layer, const char *from, const char *to);
    int (*unlink)(struct file_layer *layer, const char *path);
    int (*list)(struct file_layer *layer, const char *dir, file_name_fn *fn, void *owner);
    int (*make_dir)(struct file_layer *layer, const char *path); /* 0 also when it is there */
    /* An exclusive lock that dies with the process; -PARLEY_ERR_FULL when another holds it. */
    int (*lock)(struct file_layer *layer, const char *path, int *fd);
    /* Starts a durable write (RWF_DSYNC). `data` must live until `done`. -PARLEY_ERR_FULL: the queue is full.
     */
    int (*submit)(struct file_layer *layer, int fd, const void *data, size_t len, uint64_t offset,
                  file_done_fn *done, void *owner);
    /* Runs `done` of what has completed; with `wait`, blocks until something has (start-up and tests only).
     */
    void (*poll)(struct file_layer *layer, bool wait);
};

struct file_layer {
    const struct file_layer_ops *ops;
};

struct io_uring;
/* The real layer on a ring that the reactor owns and submits. Completions with user data from this layer are
 * given to it with file_layer_uring_complete. With ring == NULL it makes and owns a ring of its own. Owns:
 * the caller destroys the layer; the ring outlives it. */
PARLEY_MUST_USE int file_layer_uring_create(struct io_uring *ring, struct file_layer **out);
void file_layer_uring_destroy(struct file_layer **layer);
/* Whether a completion of the shared ring is this layer's; never true of 0 or of a plain pointer. When the
 * layer had to wait on the shared ring (`poll` with `wait`), it leaves the completions that it took with user
 * data 0 in the ring: the reactor skips those. */
bool file_layer_uring_owns(uint64_t user_data);
/* One completion of the shared ring: `user_data` is what the layer had put there. */
void file_layer_uring_complete(uint64_t user_data, int result);

#endif
