#include "tests/lib/step_file.h"

#include "src/base/error.h"

static struct step_file *step_of(struct file_layer *layer)
{
    return (struct step_file *)layer;
}

bool step_file_has_stopped(const struct step_file *s)
{
    return s->stop_at > 0 && s->steps >= s->stop_at;
}

/* True when the next change is not made any more. */
static bool ends(struct step_file *s)
{
    if (step_file_has_stopped(s))
        return true;
    s->steps++;
    if (!step_file_has_stopped(s))
        return false;
    if (s->stopped)
        s->stopped(s->owner);
    return true;
}

static int step_open(struct file_layer *layer, const char *path, enum file_mode mode, int *fd)
{
    struct step_file *s = step_of(layer);
    *fd = -1;
    if (mode == FILE_CREATE_NEW ? ends(s) : step_file_has_stopped(s))
        return -PARLEY_ERR_IO;
    return s->inner->ops->open(s->inner, path, mode, fd);
}

static void step_close(struct file_layer *layer, int fd)
{
    struct file_layer *inner = step_of(layer)->inner;
    inner->ops->close(inner, fd);
}

static int step_size(struct file_layer *layer, int fd, uint64_t *bytes)
{
    struct step_file *s = step_of(layer);
    return step_file_has_stopped(s) ? -PARLEY_ERR_IO : s->inner->ops->size(s->inner, fd, bytes);
}

static int64_t step_read(struct file_layer *layer, int fd, void *data, size_t len, uint64_t offset)
{
    struct step_file *s = step_of(layer);
    return step_file_has_stopped(s) ? -PARLEY_ERR_IO : s->inner->ops->read(s->inner, fd, data, len, offset);
}

static int step_write(struct file_layer *layer, int fd, const void *data, size_t len, uint64_t offset)
{
    struct step_file *s = step_of(layer);
    return ends(s) ? -PARLEY_ERR_IO : s->inner->ops->write(s->inner, fd, data, len, offset);
}

static int step_sync(struct file_layer *layer, int fd)
{
    struct step_file *s = step_of(layer);
    return ends(s) ? -PARLEY_ERR_IO : s->inner->ops->sync(s->inner, fd);
}

static int step_sync_dir(struct file_layer *layer, const char *path)
{
    struct step_file *s = step_of(layer);
    return ends(s) ? -PARLEY_ERR_IO : s->inner->ops->sync_dir(s->inner, path);
}

static int step_rename(struct file_layer *layer, const char *from, const char *to)
{
    struct step_file *s = step_of(layer);
    return ends(s) ? -PARLEY_ERR_IO : s->inner->ops->rename(s->inner, from, to);
}

static int step_unlink(struct file_layer *layer, const char *path)
{
    struct step_file *s = step_of(layer);
    return ends(s) ? -PARLEY_ERR_IO : s->inner->ops->unlink(s->inner, path);
}

static int step_list(struct file_layer *layer, const char *dir, file_name_fn *fn, void *owner)
{
    struct step_file *s = step_of(layer);
    return step_file_has_stopped(s) ? -PARLEY_ERR_IO : s->inner->ops->list(s->inner, dir, fn, owner);
}

static int step_make_dir(struct file_layer *layer, const char *path)
{
    struct step_file *s = step_of(layer);
    return ends(s) ? -PARLEY_ERR_IO : s->inner->ops->make_dir(s->inner, path);
}

static int step_lock(struct file_layer *layer, const char *path, int *fd)
{
    struct step_file *s = step_of(layer);
    return step_file_has_stopped(s) ? -PARLEY_ERR_IO : s->inner->ops->lock(s->inner, path, fd);
}

static int step_submit(struct file_layer *layer, int fd, const void *data, size_t len, uint64_t offset,
                       file_done_fn *done, void *owner)
{
    struct step_file *s = step_of(layer);
    return ends(s) ? -PARLEY_ERR_IO : s->inner->ops->submit(s->inner, fd, data, len, offset, done, owner);
}

static void step_poll(struct file_layer *layer, bool wait)
{
    struct file_layer *inner = step_of(layer)->inner;
    inner->ops->poll(inner, wait);
}

static const struct file_layer_ops STEP_OPS = {.open = step_open,
                                               .close = step_close,
                                               .size = step_size,
                                               .read = step_read,
                                               .write = step_write,
                                               .sync = step_sync,
                                               .sync_dir = step_sync_dir,
                                               .rename = step_rename,
                                               .unlink = step_unlink,
                                               .list = step_list,
                                               .make_dir = step_make_dir,
                                               .lock = step_lock,
                                               .submit = step_submit,
                                               .poll = step_poll};

void step_file_init(struct step_file *s, struct file_layer *inner, uint64_t stop_at,
                    void (*stopped)(void *owner), void *owner)
{
    *s = (struct step_file){
        .base.ops = &STEP_OPS, .inner = inner, .stop_at = stop_at, .stopped = stopped, .owner = owner};
}
