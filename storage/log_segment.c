#include "storage/log_segment.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "src/base/error.h"
#include "src/base/memory.h"

void log_segment_note(struct log_segment *s, uint64_t position, uint64_t number, uint32_t previous_crc,
                      uint64_t block_bytes)
{
    if (s->durable == 0)
        s->first_position = position;
    if (s->index_count == 0 || s->durable - s->index[s->index_count - 1].offset >= LOG_INDEX_STEP_BYTES) {
        parley_assert(s->index_count < s->index_max);
        s->index[s->index_count++] = (struct log_index_entry){
            .position = position, .number = number, .offset = s->durable, .previous_crc = previous_crc};
    }
    s->durable += block_bytes;
    parley_assert(s->durable <= s->used && s->used <= s->bytes);
}

void log_segment_path(const char *dir, const struct log_segment *s, char *path, size_t len)
{
    snprintf(path, len, "%s/%016llx-%08x-%08x.seg", dir, (unsigned long long)s->id, s->salt,
             (unsigned)(s->bytes / LOG_BLOCK_ALIGN));
}

bool log_segment_parse(const char *name, uint64_t *id, uint32_t *salt, uint64_t *bytes)
{
    unsigned long long found_id;
    unsigned found_salt, sectors;
    char again[64];
    if (sscanf(name, "%16llx-%8x-%8x.seg", &found_id, &found_salt, &sectors) != 3)
        return false;
    snprintf(again, sizeof(again), "%016llx-%08x-%08x.seg", found_id, found_salt, sectors);
    if (strcmp(again, name) != 0 || found_id == 0 || sectors == 0)
        return false;
    *id = found_id;
    *salt = found_salt;
    *bytes = (uint64_t)sectors * LOG_BLOCK_ALIGN;
    return true;
}

int log_segment_alloc(uint64_t id, uint32_t salt, uint64_t bytes, struct log_segment **out)
{
    uint32_t index_max = (uint32_t)(bytes / LOG_INDEX_STEP_BYTES) + 1;
    struct log_segment *s = memory_zalloc(sizeof(*s) + index_max * sizeof(s->index[0]));
    if (s == NULL)
        return -PARLEY_ERR_NOMEM;
    s->id = id;
    s->salt = salt;
    s->bytes = bytes;
    s->fd = -1;
    s->index_max = index_max;
    *out = s;
    return 0;
}

void log_segment_destroy(struct file_layer *files, struct log_segment **segment)
{
    struct log_segment *s = *segment;
    if (s == NULL)
        return;
    if (s->fd >= 0)
        files->ops->close(files, s->fd);
    memory_free(s);
    *segment = NULL;
}

static int fill_with_zeros(struct file_layer *files, int fd, uint64_t bytes)
{
    uint8_t *raw = memory_zalloc((size_t)LOG_BLOCK_BYTES_MAX + LOG_BLOCK_ALIGN);
    if (raw == NULL)
        return -PARLEY_ERR_NOMEM;
    uint8_t *zeros = raw + (LOG_BLOCK_ALIGN - (uintptr_t)raw % LOG_BLOCK_ALIGN) % LOG_BLOCK_ALIGN;
    int err = 0;
    for (uint64_t at = 0; err == 0 && at < bytes; at += LOG_BLOCK_BYTES_MAX) {
        uint64_t len = bytes - at < LOG_BLOCK_BYTES_MAX ? bytes - at : LOG_BLOCK_BYTES_MAX;
        err = files->ops->write(files, fd, zeros, len, at);
    }
    memory_free(raw);
    return err != 0 ? err : files->ops->sync(files, fd);
}

int log_segment_create(struct file_layer *files, const char *dir, uint64_t id, uint64_t bytes,
                       struct log_segment **out)
{
    char tmp[LOG_PATH_MAX], path[LOG_PATH_MAX];
    uint32_t salt;
    if (getrandom(&salt, sizeof(salt), 0) != sizeof(salt))
        return -PARLEY_ERR_IO;
    struct log_segment *s;
    int err = log_segment_alloc(id, salt, bytes, &s);
    if (err != 0)
        return err;
    snprintf(tmp, sizeof(tmp), "%s/segment.tmp", dir);
    log_segment_path(dir, s, path, sizeof(path));
    err = files->ops->unlink(files, tmp);
    if (err != 0 && err != -PARLEY_ERR_NOT_FOUND)
        goto fail;
    err = files->ops->open(files, tmp, FILE_CREATE_NEW, &s->fd);
    if (err != 0)
        goto fail;
    err = fill_with_zeros(files, s->fd, bytes);
    if (err != 0)
        goto fail_file;
    err = files->ops->rename(files, tmp, path);
    if (err != 0)
        goto fail_file;
    if (files->ops->sync_dir(files, dir) != 0) {
        /* Its name may be there or not. Recovery takes both, but nobody may make another one beside it. */
        err = -PARLEY_ERR_IO;
        goto fail;
    }
    *out = s;
    return 0;
fail_file:
    /* A half-filled file would hold the space that is missing. */
    if (files->ops->unlink(files, tmp) == -PARLEY_ERR_IO)
        err = -PARLEY_ERR_IO;
fail:
    log_segment_destroy(files, &s);
    return err;
}

int log_segment_remove(struct file_layer *files, const char *dir, const struct log_segment *s)
{
    char path[LOG_PATH_MAX];
    log_segment_path(dir, s, path, sizeof(path));
    int err = files->ops->unlink(files, path);
    if (err != 0 && err != -PARLEY_ERR_NOT_FOUND)
        return err;
    /* Before the next one goes: a crash must not leave a gap. */
    return files->ops->sync_dir(files, dir);
}

struct log_helper {
    struct file_layer *files;
    uint64_t segment_bytes;
    bool has_thread;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    /* under the lock: */
    bool stop;
    uint64_t wanted_id; /* 0: nothing wanted */
    bool made;          /* `made_err` and `segment` answer the wish */
    int made_err;
    struct log_segment *segment;
    struct log_segment *remove_first, *remove_last;
    int remove_err;
    char dir[LOG_DIR_MAX];
};

/* With the lock held, which it gives up while it works. False when there is nothing to do. */
static bool work_once(struct log_helper *h)
{
    struct log_segment *s = h->remove_first;
    if (s != NULL) {
        h->remove_first = s->next;
        if (h->remove_first == NULL)
            h->remove_last = NULL;
        int err = h->remove_err;
        pthread_mutex_unlock(&h->lock);
        if (err == 0)
            err = log_segment_remove(h->files, h->dir, s);
        log_segment_destroy(h->files, &s);
        pthread_mutex_lock(&h->lock);
        h->remove_err = err;
        return true;
    }
    if (h->wanted_id != 0 && !h->made && !h->stop) {
        uint64_t id = h->wanted_id;
        pthread_mutex_unlock(&h->lock);
        int err = log_segment_create(h->files, h->dir, id, h->segment_bytes, &s);
        pthread_mutex_lock(&h->lock);
        h->made = true;
        h->made_err = err;
        h->segment = err == 0 ? s : NULL;
        return true;
    }
    return false;
}

static void *helper_main(void *arg)
{
    struct log_helper *h = arg;
    pthread_mutex_lock(&h->lock);
    for (;;) {
        if (work_once(h))
            continue;
        if (h->stop)
            break;
        pthread_cond_wait(&h->wake, &h->lock);
    }
    pthread_mutex_unlock(&h->lock);
    return NULL;
}

int log_helper_create(struct file_layer *files, const char *dir, uint64_t segment_bytes, bool thread,
                      struct log_helper **out)
{
    parley_assert(strlen(dir) < LOG_DIR_MAX);
    struct log_helper *h = memory_zalloc(sizeof(*h));
    if (h == NULL)
        return -PARLEY_ERR_NOMEM;
    h->files = files;
    h->segment_bytes = segment_bytes;
    h->has_thread = thread;
    snprintf(h->dir, sizeof(h->dir), "%s", dir);
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->wake, NULL);
    if (thread && pthread_create(&h->thread, NULL, helper_main, h) != 0) {
        pthread_cond_destroy(&h->wake);
        pthread_mutex_destroy(&h->lock);
        memory_free(h);
        return -PARLEY_ERR_NOMEM;
    }
    *out = h;
    return 0;
}

void log_helper_destroy(struct log_helper **helper)
{
    struct log_helper *h = *helper;
    if (h == NULL)
        return;
    pthread_mutex_lock(&h->lock);
    h->stop = true;
    pthread_cond_signal(&h->wake);
    pthread_mutex_unlock(&h->lock);
    if (h->has_thread)
        pthread_join(h->thread, NULL);
    else
        log_helper_work(h);
    log_segment_destroy(h->files, &h->segment);
    pthread_cond_destroy(&h->wake);
    pthread_mutex_destroy(&h->lock);
    memory_free(h);
    *helper = NULL;
}

void log_helper_want(struct log_helper *h, uint64_t id)
{
    pthread_mutex_lock(&h->lock);
    parley_assert(h->wanted_id == 0 || h->wanted_id == id);
    h->wanted_id = id;
    pthread_cond_signal(&h->wake);
    pthread_mutex_unlock(&h->lock);
}

int log_helper_take(struct log_helper *h, struct log_segment **out)
{
    int err = -PARLEY_ERR_AGAIN;
    pthread_mutex_lock(&h->lock);
    if (h->made) {
        err = h->made_err;
        *out = h->segment;
        h->segment = NULL;
        h->made = false;
        h->wanted_id = 0;
    }
    pthread_mutex_unlock(&h->lock);
    return err;
}

void log_helper_remove(struct log_helper *h, struct log_segment **segment)
{
    struct log_segment *s = *segment;
    *segment = NULL;
    s->next = NULL;
    pthread_mutex_lock(&h->lock);
    if (h->remove_last != NULL)
        h->remove_last->next = s;
    else
        h->remove_first = s;
    h->remove_last = s;
    pthread_cond_signal(&h->wake);
    pthread_mutex_unlock(&h->lock);
}

int log_helper_error(struct log_helper *h)
{
    pthread_mutex_lock(&h->lock);
    int err = h->remove_err;
    pthread_mutex_unlock(&h->lock);
    return err;
}

void log_helper_work(struct log_helper *h)
{
    if (h->has_thread)
        return;
    pthread_mutex_lock(&h->lock);
    while (work_once(h))
        continue;
    pthread_mutex_unlock(&h->lock);
}
