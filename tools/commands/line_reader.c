#include "tools/commands/line_reader.h"

#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "src/base/error.h"
#include "src/base/memory.h"
#include "tools/client/text.h"

enum { READ_BYTES = 256 * 1024 };

struct line_reader {
    gzFile file;
    struct text buffer;
    size_t from;
    bool at_end, passing; /* passing over the rest of a line that is too long */
    uint64_t number;
};

int line_reader_open(int fd, struct line_reader **out)
{
    int own = -1;
    struct line_reader *r = memory_zalloc(sizeof *r);
    if (!r)
        return -PARLEY_ERR_NOMEM;
    int err = -PARLEY_ERR_NOMEM;
    if (!text_reserve(&r->buffer, READ_BYTES))
        goto fail;
    err = -PARLEY_ERR_IO;
    if (lseek(fd, 0, SEEK_SET) != 0 || (own = dup(fd)) < 0)
        goto fail;
    r->file = gzdopen(own, "rb");
    if (!r->file)
        goto fail;
    *out = r;
    return 0;
fail:
    if (own >= 0)
        close(own);
    text_free(&r->buffer);
    memory_free(r);
    return err;
}

void line_reader_close(struct line_reader **at)
{
    struct line_reader *r = *at;
    *at = NULL;
    if (!r)
        return;
    (void)gzclose_r(r->file); /* whether the stream was whole is asked at its end */
    text_free(&r->buffer);
    memory_free(r);
}

static int fill(struct line_reader *r)
{
    if (r->from) {
        memmove(r->buffer.data, r->buffer.data + r->from, r->buffer.len - r->from);
        r->buffer.len -= r->from;
        r->from = 0;
    }
    if (!text_reserve(&r->buffer, READ_BYTES))
        return -PARLEY_ERR_NOMEM;
    int n = gzread(r->file, r->buffer.data + r->buffer.len, READ_BYTES);
    int error = Z_OK;
    (void)gzerror(r->file, &error);
    if (n < 0 || (n == 0 && error != Z_OK && error != Z_STREAM_END))
        return error == Z_ERRNO ? -PARLEY_ERR_IO : -PARLEY_ERR_CORRUPT;
    r->at_end = n == 0;
    r->buffer.len += (size_t)n;
    return 0;
}

int line_reader_next(struct line_reader *r, struct span *line)
{
    size_t searched = 0;
    for (;;) {
        size_t len = r->buffer.len - r->from;
        const uint8_t *start = r->buffer.data + r->from;
        const uint8_t *feed = len > searched ? memchr(start + searched, '\n', len - searched) : NULL;
        if (!feed && !r->at_end && len <= LINE_BYTES_MAX) {
            searched = len;
            int err = fill(r);
            if (err)
                return err;
            continue;
        }
        size_t took = feed ? (size_t)(feed - start) : len;
        r->from += took + (feed != NULL);
        searched = 0;
        if (r->passing) {
            r->passing = !feed && !r->at_end;
            if (r->passing || feed)
                continue;
        }
        if (!feed && len == 0)
            return -PARLEY_ERR_END;
        r->number++;
        if (took > LINE_BYTES_MAX) {
            r->passing = !feed;
            return -PARLEY_ERR_TOO_LARGE;
        }
        *line = (struct span){start, took};
        return 0;
    }
}

uint64_t line_reader_number(const struct line_reader *r)
{
    return r->number;
}

uint64_t line_reader_offset(const struct line_reader *r)
{
    z_off_t at = gzoffset(r->file);
    return at > 0 ? (uint64_t)at : 0;
}
