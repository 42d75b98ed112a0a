#include "tests/lib/sim_file.h"

#include <stdlib.h>
#include <string.h>

#include "src/base/error.h"

enum {
    SECTOR_BYTES = 4096,
    PIECE_BYTES = 512,
    NAME_COUNT_MAX = 256,
    HANDLE_COUNT_MAX = 256,
    PENDING_COUNT_MAX = 16,
    JOURNAL_COUNT_MAX = 256
};

struct inode {
    struct inode *next;
    uint8_t *now, *disk, *dirty; /* same capacity; one dirty byte per sector */
    uint64_t now_len, disk_len, capacity;
    bool locked;
};

struct name {
    char *path;
    struct inode *inode;
};

struct names {
    struct name at[NAME_COUNT_MAX];
    uint32_t count;
};

struct pending {
    struct inode *inode;
    const uint8_t *data;
    uint8_t *copy;
    size_t len;
    uint64_t offset;
    file_done_fn *done;
    void *owner;
    int err;
    bool released;
};

struct sim_file {
    struct file_layer base;
    uint64_t random;
    struct inode *inodes;
    struct names now, disk;
    /* Unsynced changes of names: inode == NULL removes `path`. A rename is both, in one step. */
    struct {
        char *path, *remove;
        struct inode *inode;
    } journal[JOURNAL_COUNT_MAX];
    uint32_t journal_count;
    struct inode *handles[HANDLE_COUNT_MAX];
    bool handle_locks[HANDLE_COUNT_MAX];
    struct pending pending[PENDING_COUNT_MAX];
    uint32_t pending_count;
    bool hold, off, full;
    uint64_t write_count, sync_count, fail_write_at, fail_sync_at;
    int fail_write_err, fail_sync_err;
    bool misdirect; /* the next submitted write */
};

static void *must(void *p)
{
    if (p == NULL)
        abort();
    return p;
}

uint64_t sim_file_random(struct sim_file *sim)
{
    uint64_t z = (sim->random += 0x9e3779b97f4a7c15ULL); /* splitmix64 */
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
}

static struct sim_file *sim_of(struct file_layer *layer)
{
    return (struct sim_file *)layer;
}

/* ---- names ---- */

static struct inode *names_get(const struct names *names, const char *path)
{
    for (uint32_t i = 0; i < names->count; i++)
        if (strcmp(names->at[i].path, path) == 0)
            return names->at[i].inode;
    return NULL;
}

static void names_remove(struct names *names, const char *path)
{
    for (uint32_t i = 0; i < names->count; i++) {
        if (strcmp(names->at[i].path, path) != 0)
            continue;
        free(names->at[i].path);
        names->at[i] = names->at[--names->count];
        return;
    }
}

static void names_put(struct names *names, const char *path, struct inode *inode)
{
    names_remove(names, path);
    parley_assert(names->count < NAME_COUNT_MAX);
    names->at[names->count++] = (struct name){must(strdup(path)), inode};
}

static void names_clear(struct names *names)
{
    while (names->count > 0)
        free(names->at[--names->count].path);
}

static void names_copy(struct names *to, const struct names *from)
{
    names_clear(to);
    for (uint32_t i = 0; i < from->count; i++)
        names_put(to, from->at[i].path, from->at[i].inode);
}

/* Each unsynced change reaches the disk with a probability of `bias` / 8, whatever became of the others: no
 * order is promised between two names. */
static void journal_flush(struct sim_file *sim, uint64_t bias)
{
    for (uint32_t i = 0; i < sim->journal_count; i++) {
        bool arrives = bias >= 8 || (bias > 0 && sim_file_random(sim) % 8 < bias);
        if (arrives && sim->journal[i].remove != NULL)
            names_remove(&sim->disk, sim->journal[i].remove);
        if (arrives && sim->journal[i].path != NULL)
            names_put(&sim->disk, sim->journal[i].path, sim->journal[i].inode);
        free(sim->journal[i].path);
        free(sim->journal[i].remove);
    }
    sim->journal_count = 0;
}

static void change_names(struct sim_file *sim, const char *remove, const char *path, struct inode *inode)
{
    parley_assert(sim->journal_count < JOURNAL_COUNT_MAX);
    uint32_t i = sim->journal_count++;
    /* Copies first: the caller's path may be the name that goes. */
    sim->journal[i].remove = remove != NULL ? must(strdup(remove)) : NULL;
    sim->journal[i].path = path != NULL ? must(strdup(path)) : NULL;
    if (remove != NULL)
        names_remove(&sim->now, remove);
    if (path != NULL)
        names_put(&sim->now, path, inode);
    sim->journal[i].inode = inode;
}

/* ---- contents ---- */

static void inode_reserve(struct inode *inode, uint64_t bytes)
{
    if (bytes <= inode->capacity)
        return;
    uint64_t capacity = (bytes + SECTOR_BYTES - 1) / SECTOR_BYTES * SECTOR_BYTES;
    inode->now = must(realloc(inode->now, capacity));
    inode->disk = must(realloc(inode->disk, capacity));
    inode->dirty = must(realloc(inode->dirty, capacity / SECTOR_BYTES));
    memset(inode->now + inode->capacity, 0, capacity - inode->capacity);
    memset(inode->disk + inode->capacity, 0, capacity - inode->capacity);
    memset(inode->dirty + inode->capacity / SECTOR_BYTES, 0, (capacity - inode->capacity) / SECTOR_BYTES);
    inode->capacity = capacity;
}

static void inode_write(struct inode *inode, const uint8_t *data, size_t len, uint64_t offset, bool durable)
{
    inode_reserve(inode, offset + len);
    memcpy(inode->now + offset, data, len);
    if (offset + len > inode->now_len)
        inode->now_len = offset + len;
    if (durable) {
        memcpy(inode->disk + offset, data, len);
        if (offset + len > inode->disk_len)
            inode->disk_len = offset + len;
    } else {
        memset(inode->dirty + offset / SECTOR_BYTES, 1, len / SECTOR_BYTES);
    }
}

static void inode_sync(struct inode *inode)
{
    if (inode->capacity == 0)
        return;
    memcpy(inode->disk, inode->now, inode->capacity);
    memset(inode->dirty, 0, inode->capacity / SECTOR_BYTES);
    inode->disk_len = inode->now_len;
}

/* Some of the pieces arrive. A drawn bias makes "none", "all" and "one missing" common enough. */
static void arrive(struct sim_file *sim, struct inode *inode, const uint8_t *data, size_t len,
                   uint64_t offset, bool tear)
{
    uint64_t piece = tear ? PIECE_BYTES : SECTOR_BYTES;
    uint64_t bias = sim_file_random(sim) % 9; /* of 8 */
    for (size_t at = 0; at < len; at += piece)
        if (sim_file_random(sim) % 8 < bias)
            inode_write(inode, data + at, piece, offset + at, true);
}

static void inode_crash(struct sim_file *sim, struct inode *inode, bool tear)
{
    for (uint64_t i = 0; i < inode->capacity / SECTOR_BYTES; i++) {
        if (!inode->dirty[i])
            continue;
        uint8_t sector[SECTOR_BYTES];
        memcpy(sector, inode->now + i * SECTOR_BYTES, SECTOR_BYTES);
        arrive(sim, inode, sector, SECTOR_BYTES, i * SECTOR_BYTES, tear);
        inode->dirty[i] = 0;
    }
    if (inode->capacity > 0)
        memcpy(inode->now, inode->disk, inode->capacity);
    inode->now_len = inode->disk_len;
}

/* ---- the layer ---- */

static int handle_put(struct sim_file *sim, struct inode *inode, int *fd)
{
    for (int i = 0; i < HANDLE_COUNT_MAX; i++) {
        if (sim->handles[i] != NULL)
            continue;
        sim->handles[i] = inode;
        *fd = i;
        return 0;
    }
    return -PARLEY_ERR_IO;
}

static struct inode *handle_get(struct sim_file *sim, int fd)
{
    parley_assert(fd >= 0 && fd < HANDLE_COUNT_MAX);
    parley_assert(sim->off || sim->handles[fd] != NULL);
    return sim->handles[fd];
}

static int sim_open(struct file_layer *layer, const char *path, enum file_mode mode, int *fd)
{
    struct sim_file *sim = sim_of(layer);
    *fd = -1;
    if (sim->off)
        return -PARLEY_ERR_IO;
    struct inode *inode = names_get(&sim->now, path);
    if (mode == FILE_CREATE_NEW && inode != NULL)
        return -PARLEY_ERR_IO;
    if (mode != FILE_CREATE_NEW && inode == NULL)
        return -PARLEY_ERR_NOT_FOUND;
    if (mode == FILE_CREATE_NEW) {
        inode = must(calloc(1, sizeof(*inode)));
        inode->next = sim->inodes;
        sim->inodes = inode;
        change_names(sim, NULL, path, inode);
    }
    return handle_put(sim, inode, fd);
}

static void sim_close(struct file_layer *layer, int fd)
{
    struct sim_file *sim = sim_of(layer);
    struct inode *inode = handle_get(sim, fd);
    if (inode != NULL && sim->handle_locks[fd])
        inode->locked = false;
    sim->handle_locks[fd] = false;
    sim->handles[fd] = NULL;
}

static int sim_size(struct file_layer *layer, int fd, uint64_t *bytes)
{
    struct sim_file *sim = sim_of(layer);
    if (sim->off)
        return -PARLEY_ERR_IO;
    *bytes = handle_get(sim, fd)->now_len;
    return 0;
}

static int64_t sim_read(struct file_layer *layer, int fd, void *data, size_t len, uint64_t offset)
{
    struct sim_file *sim = sim_of(layer);
    parley_assert(len % SECTOR_BYTES == 0 && offset % SECTOR_BYTES == 0 &&
                  (uintptr_t)data % SECTOR_BYTES == 0);
    if (sim->off)
        return -PARLEY_ERR_IO;
    const struct inode *inode = handle_get(sim, fd);
    if (offset >= inode->now_len)
        return 0;
    size_t got = len < inode->now_len - offset ? len : (size_t)(inode->now_len - offset);
    memcpy(data, inode->now + offset, got);
    return (int64_t)got;
}

static int planned_write(struct sim_file *sim)
{
    return ++sim->write_count == sim->fail_write_at ? sim->fail_write_err : 0;
}

static int planned_sync(struct sim_file *sim)
{
    return ++sim->sync_count == sim->fail_sync_at ? sim->fail_sync_err : 0;
}

static int sim_write(struct file_layer *layer, int fd, const void *data, size_t len, uint64_t offset)
{
    struct sim_file *sim = sim_of(layer);
    parley_assert(len % SECTOR_BYTES == 0 && offset % SECTOR_BYTES == 0 &&
                  (uintptr_t)data % SECTOR_BYTES == 0);
    if (sim->off)
        return -PARLEY_ERR_IO;
    int err = planned_write(sim);
    if (err == 0 && sim->full)
        err = -PARLEY_ERR_DISK_FULL;
    if (err != 0)
        arrive(sim, handle_get(sim, fd), data, len, offset, false);
    else
        inode_write(handle_get(sim, fd), data, len, offset, false);
    return err;
}

static int sim_sync(struct file_layer *layer, int fd)
{
    struct sim_file *sim = sim_of(layer);
    if (sim->off)
        return -PARLEY_ERR_IO;
    int err = planned_sync(sim);
    if (err == 0)
        inode_sync(handle_get(sim, fd));
    return err;
}

static int sim_sync_dir(struct file_layer *layer, const char *path)
{
    struct sim_file *sim = sim_of(layer);
    (void)path; /* one log's directory at a time: stricter models are not needed yet */
    if (sim->off)
        return -PARLEY_ERR_IO;
    int err = planned_sync(sim);
    if (err == 0)
        journal_flush(sim, 8);
    return err;
}

static int sim_rename(struct file_layer *layer, const char *from, const char *to)
{
    struct sim_file *sim = sim_of(layer);
    if (sim->off)
        return -PARLEY_ERR_IO;
    struct inode *inode = names_get(&sim->now, from);
    if (inode == NULL)
        return -PARLEY_ERR_NOT_FOUND;
    change_names(sim, from, to, inode);
    return 0;
}

static int sim_unlink(struct file_layer *layer, const char *path)
{
    struct sim_file *sim = sim_of(layer);
    if (sim->off)
        return -PARLEY_ERR_IO;
    if (names_get(&sim->now, path) == NULL)
        return -PARLEY_ERR_NOT_FOUND;
    change_names(sim, path, NULL, NULL);
    return 0;
}

static int sim_list(struct file_layer *layer, const char *dir, file_name_fn *fn, void *owner)
{
    struct sim_file *sim = sim_of(layer);
    size_t len = strlen(dir);
    if (sim->off)
        return -PARLEY_ERR_IO;
    for (uint32_t i = 0; i < sim->now.count; i++) {
        const char *path = sim->now.at[i].path;
        if (strncmp(path, dir, len) != 0 || path[len] != '/')
            continue;
        int err = fn(owner, path + len + 1);
        if (err < 0)
            return err;
    }
    return 0;
}

static int sim_make_dir(struct file_layer *layer, const char *path)
{
    (void)path; /* directories are prefixes */
    return sim_of(layer)->off ? -PARLEY_ERR_IO : 0;
}

static int sim_lock(struct file_layer *layer, const char *path, int *fd)
{
    struct sim_file *sim = sim_of(layer);
    *fd = -1;
    if (sim->off)
        return -PARLEY_ERR_IO;
    struct inode *inode = names_get(&sim->now, path);
    if (inode != NULL && inode->locked)
        return -PARLEY_ERR_FULL;
    int err = sim_open(layer, path, inode != NULL ? FILE_WRITE : FILE_CREATE_NEW, fd);
    if (err != 0)
        return err;
    sim->handles[*fd]->locked = true;
    sim->handle_locks[*fd] = true;
    return 0;
}

static int sim_submit(struct file_layer *layer, int fd, const void *data, size_t len, uint64_t offset,
                      file_done_fn *done, void *owner)
{
    struct sim_file *sim = sim_of(layer);
    parley_assert(len % SECTOR_BYTES == 0 && offset % SECTOR_BYTES == 0 &&
                  (uintptr_t)data % SECTOR_BYTES == 0);
    if (sim->off)
        return -PARLEY_ERR_IO;
    if (sim->pending_count == PENDING_COUNT_MAX)
        return -PARLEY_ERR_FULL;
    uint8_t *copy = must(malloc(len));
    memcpy(copy, data, len);
    uint64_t sectors = handle_get(sim, fd)->now_len / SECTOR_BYTES, used = len / SECTOR_BYTES;
    if (sim->misdirect && sectors > used) {
        offset = sim_file_random(sim) % (sectors - used + 1) * SECTOR_BYTES;
        sim->misdirect = false;
    }
    sim->pending[sim->pending_count++] = (struct pending){.inode = handle_get(sim, fd),
                                                          .data = data,
                                                          .copy = copy,
                                                          .len = len,
                                                          .offset = offset,
                                                          .done = done,
                                                          .owner = owner,
                                                          .err = planned_write(sim)};
    return 0;
}

static void complete_first(struct sim_file *sim)
{
    struct pending p = sim->pending[0];
    sim->pending_count--;
    memmove(&sim->pending[0], &sim->pending[1], sim->pending_count * sizeof(p));
    parley_assert(memcmp(p.data, p.copy, p.len) ==
                  0); /* the owner must leave it alone while it is in flight */
    if (!sim->off && p.err == 0)
        inode_write(p.inode, p.copy, p.len, p.offset, true);
    else if (!sim->off)
        arrive(sim, p.inode, p.copy, p.len, p.offset, false);
    free(p.copy);
    p.done(p.owner, p.err);
}

static void sim_poll(struct file_layer *layer, bool wait)
{
    struct sim_file *sim = sim_of(layer);
    uint32_t count = sim->pending_count;
    for (uint32_t i = 0; i < count; i++) {
        if (sim->hold && !sim->off && !sim->pending[0].released && !wait)
            break;
        wait = false;
        complete_first(sim);
    }
}

static const struct file_layer_ops SIM_OPS = {.open = sim_open,
                                              .close = sim_close,
                                              .size = sim_size,
                                              .read = sim_read,
                                              .write = sim_write,
                                              .sync = sim_sync,
                                              .sync_dir = sim_sync_dir,
                                              .rename = sim_rename,
                                              .unlink = sim_unlink,
                                              .list = sim_list,
                                              .make_dir = sim_make_dir,
                                              .lock = sim_lock,
                                              .submit = sim_submit,
                                              .poll = sim_poll};

/* ---- control ---- */

struct sim_file *sim_file_create(uint64_t seed)
{
    struct sim_file *sim = must(calloc(1, sizeof(*sim)));
    sim->base.ops = &SIM_OPS;
    sim->random = seed;
    return sim;
}

void sim_file_destroy(struct sim_file **simp)
{
    struct sim_file *sim = *simp;
    if (sim == NULL)
        return;
    parley_assert(sim->pending_count == 0);
    journal_flush(sim, 0);
    names_clear(&sim->now);
    names_clear(&sim->disk);
    while (sim->inodes != NULL) {
        struct inode *next = sim->inodes->next;
        free(sim->inodes->now);
        free(sim->inodes->disk);
        free(sim->inodes->dirty);
        free(sim->inodes);
        sim->inodes = next;
    }
    free(sim);
    *simp = NULL;
}

struct file_layer *sim_file_layer(struct sim_file *sim)
{
    return &sim->base;
}

void sim_file_hold(struct sim_file *sim, bool hold)
{
    sim->hold = hold;
}

void sim_file_release(struct sim_file *sim, uint32_t count)
{
    for (uint32_t i = 0; i < count && i < sim->pending_count; i++)
        sim->pending[i].released = true;
}

uint32_t sim_file_in_flight(const struct sim_file *sim)
{
    return sim->pending_count;
}

void sim_file_fail_write(struct sim_file *sim, uint64_t n, int err)
{
    sim->fail_write_at = sim->write_count + n;
    sim->fail_write_err = err;
}

void sim_file_fail_sync(struct sim_file *sim, uint64_t n, int err)
{
    sim->fail_sync_at = sim->sync_count + n;
    sim->fail_sync_err = err;
}

void sim_file_set_full(struct sim_file *sim, bool full)
{
    sim->full = full;
}

void sim_file_misdirect(struct sim_file *sim)
{
    sim->misdirect = true;
}

bool sim_file_misdirecting(const struct sim_file *sim)
{
    return sim->misdirect;
}

uint64_t sim_file_write_count(const struct sim_file *sim)
{
    return sim->write_count;
}

uint64_t sim_file_sync_count(const struct sim_file *sim)
{
    return sim->sync_count;
}

void sim_file_crash(struct sim_file *sim, bool tear_sectors)
{
    sim->off = true;
    for (uint32_t i = 0; i < sim->pending_count; i++) {
        struct pending *p = &sim->pending[i];
        arrive(sim, p->inode, p->copy, p->len, p->offset, tear_sectors);
        p->err = -PARLEY_ERR_IO;
    }
    for (struct inode *inode = sim->inodes; inode != NULL; inode = inode->next) {
        inode_crash(sim, inode, tear_sectors);
        inode->locked = false;
    }
    journal_flush(sim, sim_file_random(sim) % 9);
    names_copy(&sim->now, &sim->disk);
}

void sim_file_restart(struct sim_file *sim)
{
    parley_assert(sim->pending_count == 0);
    sim->off = false;
    sim->fail_write_at = sim->fail_sync_at = 0;
    memset(sim->handles, 0, sizeof(sim->handles));
    memset(sim->handle_locks, 0, sizeof(sim->handle_locks));
}

bool sim_file_flip(struct sim_file *sim, const char *path, uint64_t bit)
{
    struct inode *inode = names_get(&sim->now, path);
    if (inode == NULL || bit / 8 >= inode->now_len)
        return false;
    inode->now[bit / 8] ^= (uint8_t)(1u << bit % 8);
    inode->disk[bit / 8] ^= (uint8_t)(1u << bit % 8);
    return true;
}

bool sim_file_truncate(struct sim_file *sim, const char *path, uint64_t bytes)
{
    struct inode *inode = names_get(&sim->now, path);
    if (inode == NULL || bytes > inode->now_len)
        return false;
    memset(inode->now + bytes, 0, inode->capacity - bytes);
    memset(inode->disk + bytes, 0, inode->capacity - bytes);
    inode->now_len = inode->disk_len = bytes;
    return true;
}

bool sim_file_bytes(struct sim_file *sim, const char *path, uint8_t **data, uint64_t *len)
{
    struct inode *inode = names_get(&sim->now, path);
    if (inode == NULL)
        return false;
    *data = inode->now;
    *len = inode->now_len;
    return true;
}

struct sim_file *sim_file_clone(const struct sim_file *sim)
{
    struct sim_file *copy = sim_file_create(sim->random);
    for (uint32_t i = 0; i < sim->now.count; i++) {
        const struct inode *from = sim->now.at[i].inode;
        struct inode *to = must(calloc(1, sizeof(*to)));
        to->next = copy->inodes;
        copy->inodes = to;
        if (from->now_len > 0)
            inode_write(to, from->now, from->now_len, 0, true);
        names_put(&copy->now, sim->now.at[i].path, to);
        names_put(&copy->disk, sim->now.at[i].path, to);
    }
    return copy;
}

const char *sim_file_find(const struct sim_file *sim, const char *suffix, uint32_t skip)
{
    const char *after = "";
    for (;;) {
        const char *best = NULL;
        for (uint32_t i = 0; i < sim->now.count; i++) {
            const char *path = sim->now.at[i].path;
            size_t len = strlen(path), suffix_len = strlen(suffix);
            if (len < suffix_len || strcmp(path + len - suffix_len, suffix) != 0 || strcmp(path, after) <= 0)
                continue;
            if (best == NULL || strcmp(path, best) < 0)
                best = path;
        }
        if (best == NULL || skip-- == 0)
            return best;
        after = best;
    }
}
