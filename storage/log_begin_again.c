#include "storage/log_begin_again.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/error.h"
#include "src/base/memory.h"
#include "storage/file.h"
#include "storage/log_block.h"
#include "storage/log_mark.h"
#include "storage/log_segment.h"

enum {
    SEGMENT_BYTES = 2 * LOG_BLOCK_BYTES_MAX, /* the next ones have the size that the server asks for */
    NAME_BYTES = 256
};

struct aside {
    struct file_layer *files;
    const char *dir;
    uint64_t new_segment;
    uint32_t number;       /* of the suffix that no file has yet */
    char next[NAME_BYTES]; /* an old segment; empty: there is none any more */
};

static int note_suffix(void *owner, const char *name)
{
    struct aside *a = owner;
    const char *suffix = strstr(name, ".damaged");
    if (!suffix)
        return 0;
    const char *digits = suffix + strlen(".damaged");
    unsigned long used = *digits == '.' ? strtoul(digits + 1, NULL, 10) : 1;
    if (used >= a->number && used < UINT32_MAX)
        a->number = (uint32_t)used + 1;
    return 0;
}

static int note_old_segment(void *owner, const char *name)
{
    struct aside *a = owner;
    uint64_t id, bytes;
    uint32_t salt;
    if (log_segment_parse(name, &id, &salt, &bytes) && id != a->new_segment)
        snprintf(a->next, sizeof(a->next), "%s", name);
    return 0;
}

static int put_aside(const struct aside *a, const char *name)
{
    char from[LOG_PATH_MAX], to[LOG_PATH_MAX + 32], number[16] = "";
    if (a->number > 1)
        snprintf(number, sizeof(number), ".%u", a->number);
    snprintf(from, sizeof(from), "%s/%s", a->dir, name);
    snprintf(to, sizeof(to), "%s.damaged%s", from, number);
    return a->files->ops->rename(a->files, from, to);
}

/* Durably, before a new mark takes the old one's name. */
static int put_all_aside(struct aside *a)
{
    int err = a->files->ops->list(a->files, a->dir, note_suffix, a);
    while (err == 0) {
        a->next[0] = '\0';
        err = a->files->ops->list(a->files, a->dir, note_old_segment, a);
        if (err != 0 || a->next[0] == '\0')
            break;
        err = put_aside(a, a->next);
    }
    if (err == 0)
        err = put_aside(a, "mark");
    if (err == -PARLEY_ERR_NOT_FOUND) /* it was what is missing */
        err = 0;
    return err != 0 ? err : a->files->ops->sync_dir(a->files, a->dir);
}

static int write_first_block(struct file_layer *files, const struct log_segment *segment, uint8_t *block,
                             struct log_block_header *h)
{
    log_block_seal(block, segment->salt, h);
    int err = files->ops->write(files, segment->fd, block, LOG_BLOCK_ALIGN, 0);
    return err != 0 ? err : files->ops->sync(files, segment->fd);
}

int log_begin_again(struct file_layer *files, const char *dir, const struct log_report *old,
                    const struct log_beginning *at, uint32_t *aside)
{
    parley_assert(at->position > 0 && at->position >= old->seen_end && at->ceiling >= old->seen_ceiling);
    uint8_t *raw = memory_zalloc((size_t)3 * LOG_BLOCK_ALIGN);
    if (raw == NULL)
        return -PARLEY_ERR_NOMEM;
    uint8_t *scratch = raw + (LOG_BLOCK_ALIGN - (uintptr_t)raw % LOG_BLOCK_ALIGN) % LOG_BLOCK_ALIGN;
    /* Number 1 is the beginning of all, and what follows the highest would continue it. */
    struct log_block_header h = {.segment_id = old->seen_segment + 2,
                                 .number = old->seen_block + 2,
                                 .first_position = at->position,
                                 .ceiling = at->ceiling};
    struct aside a = {.files = files, .dir = dir, .new_segment = h.segment_id, .number = 1};
    struct log_segment *segment = NULL;
    int err = log_segment_create(files, dir, h.segment_id, SEGMENT_BYTES, &segment);
    if (err == 0)
        err = write_first_block(files, segment, scratch, &h);
    if (err == 0)
        err = put_all_aside(&a);
    if (err == 0) {
        const struct log_mark mark = {.generation = 1,
                                      .end = at->position,
                                      .block_number = h.number,
                                      .ceiling = at->ceiling,
                                      .block_crc = h.header_crc};
        err = log_mark_create(files, dir, scratch, &mark);
    }
    *aside = a.number;
    log_segment_destroy(files, &segment);
    memory_free(raw);
    return err;
}
