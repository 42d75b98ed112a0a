#include "storage/log_begin_again.h"

#include <stdio.h>
#include <string.h>

#include "src/base/error.h"
#include "src/base/memory.h"
#include "storage/file.h"
#include "storage/log_block.h"
#include "storage/log_mark.h"
#include "storage/log_segment.h"

struct aside {
    struct file_layer *files;
    const char *dir;
};

static int put_aside(const struct aside *a, const char *name)
{
    char from[LOG_PATH_MAX], to[LOG_PATH_MAX + 16];
    snprintf(from, sizeof(from), "%s/%s", a->dir, name);
    snprintf(to, sizeof(to), "%s.damaged", from);
    return a->files->ops->rename(a->files, from, to);
}

static int on_name(void *owner, const char *name)
{
    uint64_t id, bytes;
    uint32_t salt;
    return log_segment_parse(name, &id, &salt, &bytes) ? put_aside(owner, name) : 0;
}

static int write_first_block(struct file_layer *files, const struct log_segment *segment, uint8_t *block,
                             const struct log_beginning *at, struct log_block_header *h)
{
    *h = (struct log_block_header){.segment_id = at->segment_id,
                                   .number = at->block_number,
                                   .first_position = at->position,
                                   .ceiling = at->ceiling};
    log_block_seal(block, segment->salt, h);
    int err = files->ops->write(files, segment->fd, block, LOG_BLOCK_ALIGN, 0);
    return err != 0 ? err : files->ops->sync(files, segment->fd);
}

int log_begin_again(struct file_layer *files, const char *dir, uint64_t segment_bytes,
                    const struct log_beginning *at)
{
    parley_assert(at->segment_id > 1 && at->block_number > 1 && at->position > 0);
    struct aside aside = {files, dir};
    struct log_segment *segment = NULL;
    uint8_t *raw = memory_zalloc((size_t)3 * LOG_BLOCK_ALIGN);
    if (raw == NULL)
        return -PARLEY_ERR_NOMEM;
    uint8_t *scratch = raw + (LOG_BLOCK_ALIGN - (uintptr_t)raw % LOG_BLOCK_ALIGN) % LOG_BLOCK_ALIGN;
    struct log_block_header h;
    int err = files->ops->list(files, dir, on_name, &aside);
    if (err == 0)
        err = put_aside(&aside, "mark");
    if (err == -PARLEY_ERR_NOT_FOUND) /* it was what is missing */
        err = 0;
    if (err == 0)
        err = log_segment_create(files, dir, at->segment_id, segment_bytes, &segment);
    if (err == 0)
        err = write_first_block(files, segment, scratch, at, &h);
    struct log_mark mark = {.generation = 1, .end = at->position, .ceiling = at->ceiling};
    if (err == 0) {
        mark.block_number = h.number;
        mark.block_crc = h.header_crc;
        err = log_mark_create(files, dir, scratch, &mark);
    }
    log_segment_destroy(files, &segment);
    memory_free(raw);
    return err;
}
