#include "storage/log_mark.h"

#include <stdio.h>
#include <string.h>

#include "src/base/bytes.h"
#include "src/base/crc32c.h"
#include "src/base/error.h"
#include "storage/file.h"
#include "storage/log_block.h"
#include "storage/log_segment.h"

enum { MAGIC = 0x4b524d50, VERSION = 1, CRC_OFFSET = 44 }; /* "PMRK" */

void log_mark_encode(uint8_t *slot, const struct log_mark *mark)
{
    memset(slot, 0, LOG_BLOCK_ALIGN);
    struct bytes_writer w = bytes_writer_of(slot, LOG_BLOCK_ALIGN);
    bytes_put_u32(&w, MAGIC);
    bytes_put_u32(&w, VERSION);
    bytes_put_u64(&w, mark->generation);
    bytes_put_u64(&w, mark->end);
    bytes_put_u64(&w, mark->block_number);
    bytes_put_u64(&w, mark->ceiling);
    bytes_put_u32(&w, mark->block_crc);
    parley_assert(bytes_writer_len(&w) == CRC_OFFSET);
    bytes_put_u32(&w, crc32c(0, slot, CRC_OFFSET));
}

int log_mark_decode(const uint8_t *slot, struct log_mark *mark)
{
    struct bytes_reader r = bytes_reader_of(slot, LOG_BLOCK_ALIGN);
    bool valid = bytes_get_u32(&r) == MAGIC;
    valid = bytes_get_u32(&r) == VERSION && valid;
    mark->generation = bytes_get_u64(&r);
    mark->end = bytes_get_u64(&r);
    mark->block_number = bytes_get_u64(&r);
    mark->ceiling = bytes_get_u64(&r);
    mark->block_crc = bytes_get_u32(&r);
    valid = bytes_get_u32(&r) == crc32c(0, slot, CRC_OFFSET) && valid;
    valid = valid && log_block_is_zero(r.at, (size_t)(r.end - r.at));
    return valid && mark->generation > 0 && mark->end > 0 ? 0 : -PARLEY_ERR_CORRUPT;
}

uint64_t log_mark_offset(uint64_t generation)
{
    return generation % 2 * LOG_BLOCK_ALIGN;
}

int log_mark_read(struct file_layer *files, const char *dir, uint8_t *scratch, struct log_mark *mark)
{
    char path[LOG_PATH_MAX];
    snprintf(path, sizeof(path), "%s/mark", dir);
    int fd;
    int err = files->ops->open(files, path, FILE_READ, &fd);
    if (err != 0)
        return err;
    err = files->ops->sync(files, fd);
    if (err != 0)
        goto out;
    int64_t got = files->ops->read(files, fd, scratch, (size_t)2 * LOG_BLOCK_ALIGN, 0);
    if (got < 0) {
        err = (int)got;
        goto out;
    }
    const int64_t both = (int64_t)2 * LOG_BLOCK_ALIGN;
    if (got < both)
        memset(scratch + got, 0, (size_t)(both - got));
    err = -PARLEY_ERR_CORRUPT;
    *mark = (struct log_mark){0};
    for (uint64_t slot = 0; slot < 2; slot++) {
        struct log_mark found;
        if (log_mark_decode(scratch + slot * LOG_BLOCK_ALIGN, &found) != 0 ||
            log_mark_offset(found.generation) != slot * LOG_BLOCK_ALIGN)
            continue;
        if (found.generation > mark->generation)
            *mark = found;
        err = 0;
    }
out:
    files->ops->close(files, fd);
    return err;
}

int log_mark_create(struct file_layer *files, const char *dir, uint8_t *scratch, const struct log_mark *mark)
{
    char tmp[LOG_PATH_MAX], path[LOG_PATH_MAX];
    snprintf(tmp, sizeof(tmp), "%s/mark.tmp", dir);
    snprintf(path, sizeof(path), "%s/mark", dir);
    memset(scratch, 0, (size_t)2 * LOG_BLOCK_ALIGN);
    log_mark_encode(scratch + log_mark_offset(mark->generation), mark);
    int err = files->ops->unlink(files, tmp);
    if (err != 0 && err != -PARLEY_ERR_NOT_FOUND)
        return err;
    int fd;
    err = files->ops->open(files, tmp, FILE_CREATE_NEW, &fd);
    if (err != 0)
        return err;
    err = files->ops->write(files, fd, scratch, (size_t)2 * LOG_BLOCK_ALIGN, 0);
    if (err == 0)
        err = files->ops->sync(files, fd);
    files->ops->close(files, fd);
    if (err == 0)
        err = files->ops->rename(files, tmp, path);
    if (err == 0)
        err = files->ops->sync_dir(files, dir);
    return err;
}
