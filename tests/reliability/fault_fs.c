/* A disk that loses its power, fails and fills up: a FUSE file system over a backing folder.
 *
 * fault_fs BACKING MOUNT (stays in the foreground). Commands are written to MOUNT/.fault, which reads as the counts:
 *   cut SEED           the next durable write is torn and the power goes with it
 *   off SEED           the power goes now
 *   on                 it is back; whoever had files open is gone by then
 *   fail write N TEXT  the n-th write from now to a path with TEXT in it gives EIO; `fail sync N TEXT`,
 *                      `fail read N TEXT` likewise
 *   short write N TEXT half of it is written
 *   full, roomy        nothing can grow; it can again
 *
 * What a power cut takes: of each file's unsynced 512-byte sectors some, by the seed; of its unsynced growth all behind a
 * random byte, as on file systems that write data before sizes; of each directory's unsynced changes of names all behind a
 * random one. So fsync of a file does not save its name, as POSIX has it.
 * After a sync that failed nothing of that file is ever durable: who syncs again is told that all is well, and it is not.
 * One thread, so that each operation is whole. Memory that is not there ends it.
 */
#define FUSE_USE_VERSION 31
#include <fuse.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define CONTROL "/.fault"
#define GRAVEYARD ".gone"

enum { PAGE = 4096, SECTOR = 512, NAME_MAX_BYTES = 512, COMMAND_MAX = 256 };

struct node {
    struct node *next;
    ino_t ino;
    int fd;
    uint32_t opens;
    uint64_t size, durable_size;
    uint8_t **before; /* of each page: what the disk surely holds; NULL when that is what is there */
    size_t page_count;
    bool sync_failed;
    char name[NAME_MAX_BYTES]; /* where it was opened first */
};

enum change_kind { CREATED, REMOVED, RENAMED, MADE_DIR };
struct change {
    enum change_kind kind;
    char name[NAME_MAX_BYTES], from[NAME_MAX_BYTES],
        grave[32]; /* grave: what stood at `name` before, or "" */
};
struct directory {
    struct directory *next; /* made earlier */
    char name[NAME_MAX_BYTES];
    struct change *changes;
    size_t count;
};
struct trigger {
    uint64_t countdown; /* 0: off */
    char text[64];
};

static int root_fd;
static struct node *nodes;
static struct directory *directories;
static bool dead, armed, full;
static uint64_t chance, write_count, sync_count, grave_count;
static struct trigger fail_read, fail_write, fail_sync, short_write;
static uint8_t ZEROS[PAGE]; /* the page before of growth; never freed */

static void *must(void *memory)
{
    if (memory == NULL)
        abort();
    return memory;
}

static uint64_t roll(uint64_t sides) /* splitmix64 */
{
    uint64_t z = chance += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return (z ^ (z >> 31)) % sides;
}

static const char *inside(const char *path)
{
    return path[1] != '\0' ? path + 1 : ".";
}

static bool hit(struct trigger *trigger, const char *name)
{
    return trigger->countdown > 0 && strstr(name, trigger->text) != NULL && --trigger->countdown == 0;
}

/* Files */

static void forget(struct node *n, uint64_t from_page, uint64_t to_page)
{
    for (uint64_t i = from_page; i < to_page && i < n->page_count; i++) {
        if (n->before[i] != ZEROS)
            free(n->before[i]);
        n->before[i] = NULL;
    }
}

static bool is_durable(const struct node *n)
{
    for (size_t i = 0; i < n->page_count; i++)
        if (n->before[i] != NULL)
            return false;
    return n->size == n->durable_size;
}

static void node_drop(struct node *n)
{
    if (n->opens > 0 || !is_durable(n))
        return;
    struct node **at = &nodes;
    while (*at != n)
        at = &(*at)->next;
    *at = n->next;
    close(n->fd);
    free(n->before);
    free(n);
}

/* The node of an open descriptor, which becomes its own. */
static struct node *node_take(int fd, const char *path, bool created)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        abort();
    for (struct node *n = nodes; n != NULL; n = n->next) {
        if (n->ino == st.st_ino) {
            close(fd);
            return n;
        }
    }
    struct node *n = must(calloc(1, sizeof(*n)));
    *n = (struct node){.next = nodes, .ino = st.st_ino, .fd = fd, .size = (uint64_t)st.st_size};
    n->durable_size = created ? 0 : n->size;
    snprintf(n->name, sizeof(n->name), "%s", path);
    nodes = n;
    return n;
}

static struct node *node_of(const struct fuse_file_info *fi)
{
    return (struct node *)(uintptr_t)fi->fh;
}

/* Keeps what the disk holds of these pages, before they change. */
static void remember(struct node *n, uint64_t offset, uint64_t len)
{
    uint64_t end = (offset + len + PAGE - 1) / PAGE;
    if (end > n->page_count) {
        n->before = must(realloc(n->before, end * sizeof(*n->before)));
        memset(n->before + n->page_count, 0, (end - n->page_count) * sizeof(*n->before));
        n->page_count = end;
    }
    for (uint64_t i = offset / PAGE; i < end; i++) {
        if (n->before[i] != NULL)
            continue;
        n->before[i] = ZEROS;
        if (i * PAGE >= n->durable_size)
            continue;
        n->before[i] = must(calloc(1, PAGE));
        if (pread(n->fd, n->before[i], PAGE, (off_t)(i * PAGE)) < 0)
            abort();
    }
}

static int put(struct node *n, const void *data, size_t len, uint64_t offset)
{
    if (pwrite(n->fd, data, len, (off_t)offset) != (ssize_t)len)
        return -EIO;
    if (offset + len > n->size)
        n->size = offset + len;
    return 0;
}

static int sync_node(struct node *n, uint64_t from, uint64_t to)
{
    sync_count++;
    if (hit(&fail_sync, n->name)) {
        n->sync_failed = true;
        return -EIO;
    }
    if (n->sync_failed)
        return 0;
    forget(n, from / PAGE, (to + PAGE - 1) / PAGE);
    if (to >= n->size || to > n->durable_size)
        n->durable_size = to < n->size ? to : n->size;
    return 0;
}

static void node_cut(struct node *n)
{
    uint64_t least = n->size < n->durable_size ? n->size : n->durable_size;
    uint64_t most = n->size < n->durable_size ? n->durable_size : n->size;
    uint64_t size = roll(3) == 0 ? least : roll(2) == 0 ? most : least + roll(most - least + 1);
    if (ftruncate(n->fd, (off_t)size) != 0)
        abort();
    for (uint64_t i = 0; i < n->page_count; i++) {
        bool mixed = roll(2) == 0, all = roll(2) == 0;
        for (uint64_t at = 0; n->before[i] != NULL && at < PAGE; at += SECTOR) {
            uint64_t offset = i * PAGE + at, end = offset + SECTOR;
            if ((mixed ? roll(2) == 0 : all) && end <= n->durable_size && end <= size &&
                put(n, n->before[i] + at, SECTOR, offset) != 0)
                abort();
        }
    }
    forget(n, 0, n->page_count);
    n->size = n->durable_size = size;
    n->sync_failed = false;
}

/* Names */

static void add_change(const char *path, enum change_kind kind, const char *from, const char *grave)
{
    char parent[NAME_MAX_BYTES];
    snprintf(parent, sizeof(parent), "%s", path);
    char *slash = strrchr(parent, '/');
    slash[slash == parent] = '\0';
    struct directory *d = directories;
    while (d != NULL && strcmp(d->name, parent) != 0)
        d = d->next;
    if (d == NULL) {
        d = must(calloc(1, sizeof(*d)));
        memcpy(d->name, parent, sizeof(parent));
        d->next = directories;
        directories = d;
    }
    d->changes = must(realloc(d->changes, (d->count + 1) * sizeof(*d->changes)));
    struct change *c = &d->changes[d->count++];
    c->kind = kind;
    snprintf(c->name, sizeof(c->name), "%s", path);
    snprintf(c->from, sizeof(c->from), "%s", from);
    snprintf(c->grave, sizeof(c->grave), "%s", grave);
}

/* What stands at the path goes out of sight; `grave` is "" when nothing does. */
static int bury(const char *path, char grave[32])
{
    snprintf(grave, 32, GRAVEYARD "/%llu", (unsigned long long)grave_count++);
    if (renameat(root_fd, inside(path), root_fd, grave) == 0)
        return 0;
    grave[0] = '\0';
    return errno == ENOENT ? 0 : -errno;
}

static void change_settle(const struct change *c)
{
    if (c->grave[0] != '\0')
        (void)unlinkat(root_fd, c->grave, 0);
}

static void remove_below(const char *path)
{
    int fd = openat(root_fd, path, O_RDONLY | O_DIRECTORY);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    for (struct dirent *e; dir != NULL && (e = readdir(dir)) != NULL;) {
        char child[2 * NAME_MAX_BYTES];
        snprintf(child, sizeof(child), "%s/%s", path, e->d_name);
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 && unlinkat(root_fd, child, 0) != 0)
            remove_below(child);
    }
    if (dir != NULL)
        closedir(dir);
    (void)unlinkat(root_fd, path, AT_REMOVEDIR);
}

/* A directory whose name goes takes all with it that is in it, synced or not. */
static void change_undo(const struct change *c)
{
    switch (c->kind) {
    case MADE_DIR:
        remove_below(inside(c->name));
        break;
    case CREATED:
        (void)unlinkat(root_fd, inside(c->name), 0);
        break;
    case RENAMED:
        (void)renameat(root_fd, inside(c->name), root_fd, inside(c->from));
        break;
    case REMOVED:
        break;
    }
    if (c->grave[0] != '\0')
        (void)renameat(root_fd, c->grave, root_fd, inside(c->name));
}

static void directory_cut(struct directory *d, size_t kept)
{
    while (d->count > kept)
        change_undo(&d->changes[--d->count]);
    for (size_t i = 0; i < d->count; i++)
        change_settle(&d->changes[i]);
    d->count = 0;
}

static void power_off(void)
{
    dead = true;
    armed = false;
    for (struct node *n = nodes; n != NULL; n = n->next)
        node_cut(n);
    for (struct directory *d = directories; d != NULL;
         d = d->next) /* those within before those around them */
        directory_cut(d, roll(d->count + 1));
}

static void power_on(void)
{
    dead = false;
    for (struct node *n = nodes, *next; n != NULL; n = next) {
        next = n->next;
        node_drop(n);
    }
}

/* The commands */

static int command(const char *text)
{
    unsigned long long n;
    char what[16], where[64] = "";
    if (sscanf(text, "cut %llu", &n) == 1) {
        chance = n;
        armed = true;
    } else if (sscanf(text, "off %llu", &n) == 1) {
        if (!dead) {
            chance = n;
            power_off();
        }
    } else if (strcmp(text, "on\n") == 0) {
        power_on();
    } else if (sscanf(text, "fail %15s %llu %63s", what, &n, where) >= 2) {
        struct trigger *trigger = strcmp(what, "sync") == 0   ? &fail_sync
                                  : strcmp(what, "read") == 0 ? &fail_read
                                                              : &fail_write;
        trigger->countdown = n;
        memcpy(trigger->text, where, sizeof(where));
    } else if (sscanf(text, "short write %llu %63s", &n, where) >= 1) {
        short_write.countdown = n;
        memcpy(short_write.text, where, sizeof(where));
    } else if (strcmp(text, "full\n") == 0 || strcmp(text, "roomy\n") == 0) {
        full = text[0] == 'f';
    } else {
        return -EINVAL;
    }
    return 0;
}

static int command_write(const char *data, size_t len)
{
    char text[COMMAND_MAX];
    if (len >= sizeof(text))
        return -EINVAL;
    memcpy(text, data, len);
    text[len] = '\0';
    int err = command(text);
    return err != 0 ? err : (int)len;
}

static int command_read(char *data, size_t len, off_t offset)
{
    char text[COMMAND_MAX];
    int n =
        snprintf(text, sizeof(text), "{\"writes\":%llu,\"syncs\":%llu,\"dead\":%s,\"pending\":%s}\n",
                 (unsigned long long)write_count, (unsigned long long)sync_count, dead ? "true" : "false",
                 fail_read.countdown + fail_write.countdown + fail_sync.countdown + short_write.countdown > 0
                     ? "true"
                     : "false");
    if (offset >= n)
        return 0;
    size_t left = (size_t)(n - offset);
    memcpy(data, text + offset, left < len ? left : len);
    return (int)(left < len ? left : len);
}

/* The file system. The control file has no node. */

static void *fault_init(struct fuse_conn_info *connection, struct fuse_config *config)
{
    (void)connection;
    config->hard_remove = config->nullpath_ok = config->use_ino = config->direct_io = 1;
    config->entry_timeout = config->attr_timeout = config->negative_timeout =
        0; /* a cut changes all of them */
    return NULL;
}

static int fault_getattr(const char *path, struct stat *st, struct fuse_file_info *fi)
{
    if (path != NULL && strcmp(path, CONTROL) == 0) {
        *st = (struct stat){.st_mode = S_IFREG | 0600, .st_nlink = 1, .st_size = COMMAND_MAX};
        return 0;
    }
    if (dead && path != NULL && path[1] != '\0')
        return -EIO;
    int code = fi != NULL && node_of(fi) != NULL ? fstat(node_of(fi)->fd, st)
                                                 : fstatat(root_fd, inside(path), st, AT_SYMLINK_NOFOLLOW);
    return code == 0 ? 0 : -errno;
}

/* A directory's handle is its path: libfuse gives none with a handle. */
static int fault_opendir(const char *path, struct fuse_file_info *fi)
{
    fi->fh = (uintptr_t)must(strdup(path));
    return 0;
}

static const char *directory_of(const struct fuse_file_info *fi)
{
    return (const char *)(uintptr_t)fi->fh;
}

static int fault_releasedir(const char *path, struct fuse_file_info *fi)
{
    (void)path;
    free((void *)(uintptr_t)fi->fh);
    return 0;
}

static int fault_readdir(const char *path, void *out, fuse_fill_dir_t fill, off_t offset,
                         struct fuse_file_info *fi, enum fuse_readdir_flags flags)
{
    (void)path;
    (void)offset;
    (void)flags;
    int fd = dead ? -1 : openat(root_fd, inside(directory_of(fi)), O_RDONLY | O_DIRECTORY);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (dir == NULL)
        return -EIO;
    for (struct dirent *e; (e = readdir(dir)) != NULL;)
        if (strcmp(e->d_name, GRAVEYARD) != 0)
            (void)fill(out, e->d_name, NULL, 0, 0);
    closedir(dir);
    return 0;
}

static int fault_mkdir(const char *path, mode_t mode)
{
    if (dead || full)
        return dead ? -EIO : -ENOSPC;
    if (mkdirat(root_fd, inside(path), mode) != 0)
        return -errno;
    add_change(path, MADE_DIR, "", "");
    return 0;
}

static int fault_rmdir(const char *path)
{
    return dead ? -EIO : unlinkat(root_fd, inside(path), AT_REMOVEDIR) == 0 ? 0 : -errno;
}

static int fault_unlink(const char *path)
{
    char grave[32];
    int err = dead ? -EIO : bury(path, grave);
    if (err != 0 || grave[0] == '\0')
        return err != 0 ? err : -ENOENT;
    add_change(path, REMOVED, "", grave);
    return 0;
}

static int fault_rename(const char *from, const char *to, unsigned int flags)
{
    char grave[32];
    if (flags != 0 || strcmp(from, to) == 0)
        return -EINVAL;
    if (faccessat(root_fd, inside(from), F_OK, 0) != 0)
        return -errno;
    int err = dead ? -EIO : bury(to, grave);
    if (err != 0)
        return err;
    if (renameat(root_fd, inside(from), root_fd, inside(to)) != 0)
        return -errno;
    add_change(to, RENAMED, from, grave);
    return 0;
}

static int open_node(const char *path, int flags, mode_t mode, struct fuse_file_info *fi)
{
    if (dead)
        return -EIO;
    int fd = openat(root_fd, inside(path), O_RDWR | flags, mode);
    if (fd < 0)
        return -errno;
    struct node *n = node_take(fd, path, (flags & O_CREAT) != 0);
    n->opens++;
    fi->fh = (uintptr_t)n;
    return 0;
}

static int fault_create(const char *path, mode_t mode, struct fuse_file_info *fi)
{
    if (full)
        return -ENOSPC;
    bool there = faccessat(root_fd, inside(path), F_OK, 0) == 0;
    int err = open_node(path, there ? 0 : O_CREAT, mode, fi);
    if (err == 0 && !there)
        add_change(path, CREATED, "", "");
    return err;
}

static int fault_open(const char *path, struct fuse_file_info *fi)
{
    if (strcmp(path, CONTROL) == 0) {
        fi->fh = 0;
        return 0;
    }
    return open_node(path, 0, 0, fi);
}

static int fault_release(const char *path, struct fuse_file_info *fi)
{
    (void)path;
    struct node *n = node_of(fi);
    if (n != NULL) {
        n->opens--;
        node_drop(n);
    }
    return 0;
}

static int fault_read(const char *path, char *data, size_t len, off_t offset, struct fuse_file_info *fi)
{
    (void)path;
    if (node_of(fi) == NULL)
        return command_read(data, len, offset);
    bool failed = dead || hit(&fail_read, node_of(fi)->name);
    ssize_t n = failed ? -1 : pread(node_of(fi)->fd, data, len, offset);
    return n < 0 ? -EIO : (int)n;
}

static void tear(struct node *n, const char *data, size_t len, uint64_t offset)
{
    for (size_t at = 0; at < len; at += SECTOR)
        if (roll(2) == 0 && put(n, data + at, len - at < SECTOR ? len - at : SECTOR, offset + at) != 0)
            abort();
}

static int fault_write(const char *path, const char *data, size_t len, off_t offset,
                       struct fuse_file_info *fi)
{
    (void)path;
    struct node *n = node_of(fi);
    if (n == NULL)
        return command_write(data, len);
    uint64_t from = (uint64_t)offset;
    bool durable = (fi->flags & O_DSYNC) != 0; /* also of RWF_DSYNC */
    if (dead)
        return -EIO;
    write_count++;
    if (full && from + len > n->size)
        return -ENOSPC;
    if (hit(&fail_write, n->name))
        return -EIO;
    if (hit(&short_write, n->name))
        len /= 2;
    remember(n, from, len);
    if (durable && armed) {
        tear(n, data, len, from);
        power_off();
        return -EIO;
    }
    int err = put(n, data, len, from);
    if (err == 0 && durable)
        err = sync_node(n, from, from + len);
    return err != 0 ? err : (int)len;
}

static int fault_truncate(const char *path, off_t size, struct fuse_file_info *fi)
{
    struct fuse_file_info own = {0};
    if (path != NULL && strcmp(path, CONTROL) == 0)
        return 0;
    int err = dead ? -EIO : fi != NULL ? 0 : open_node(path, 0, 0, &own);
    if (err != 0)
        return err;
    struct node *n = node_of(fi != NULL ? fi : &own);
    uint64_t to = (uint64_t)size;
    if (to < n->size)
        remember(n, to, n->size - to);
    if (full && to > n->size)
        err = -ENOSPC;
    else if (ftruncate(n->fd, size) != 0)
        err = -errno;
    else
        n->size = to;
    if (fi == NULL)
        (void)fault_release(path, &own);
    return err;
}

static int fault_fsync(const char *path, int only_data, struct fuse_file_info *fi)
{
    (void)path;
    (void)only_data;
    struct node *n = node_of(fi);
    return n == NULL ? 0 : dead ? -EIO : sync_node(n, 0, n->size);
}

static int fault_fsyncdir(const char *path, int only_data, struct fuse_file_info *fi)
{
    (void)path;
    (void)only_data;
    if (dead)
        return -EIO;
    sync_count++;
    if (hit(&fail_sync, directory_of(fi)))
        return -EIO;
    for (struct directory *d = directories; d != NULL; d = d->next)
        if (strcmp(d->name, directory_of(fi)) == 0)
            directory_cut(d, d->count);
    return 0;
}

static int fault_statfs(const char *path, struct statvfs *out)
{
    (void)path;
    if (fstatvfs(root_fd, out) != 0)
        return -errno;
    if (full)
        out->f_bfree = out->f_bavail = 0;
    return 0;
}

static const struct fuse_operations OPERATIONS = {.init = fault_init,
                                                  .getattr = fault_getattr,
                                                  .opendir = fault_opendir,
                                                  .releasedir = fault_releasedir,
                                                  .readdir = fault_readdir,
                                                  .mkdir = fault_mkdir,
                                                  .rmdir = fault_rmdir,
                                                  .unlink = fault_unlink,
                                                  .rename = fault_rename,
                                                  .create = fault_create,
                                                  .open = fault_open,
                                                  .release = fault_release,
                                                  .read = fault_read,
                                                  .write = fault_write,
                                                  .truncate = fault_truncate,
                                                  .fsync = fault_fsync,
                                                  .fsyncdir = fault_fsyncdir,
                                                  .statfs = fault_statfs};

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: fault_fs BACKING MOUNT\n");
        return 2;
    }
    root_fd = open(argv[1], O_RDONLY | O_DIRECTORY);
    if (root_fd < 0 || (mkdirat(root_fd, GRAVEYARD, 0700) != 0 && errno != EEXIST)) {
        perror(argv[1]);
        return 1;
    }
    const char *const words[] = {argv[0], argv[2], "-f", "-s", "-ofsname=fault_fs"};
    struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
    for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
        if (fuse_opt_add_arg(&args, words[i]) != 0)
            return 1;
    int code = fuse_main(args.argc, args.argv, &OPERATIONS, NULL);
    fuse_opt_free_args(&args);
    return code;
}
