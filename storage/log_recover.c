#include "storage/log_recover.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "src/base/error.h"
#include "src/base/memory.h"

struct recovery {
    struct file_layer *files;
    const char *dir;
    bool must_exist;
    struct log_report *report;
    struct log_recovered *out;
    struct log_mark mark;
    struct log_chain chain;
    struct log_segment *segments; /* by rising id */
    struct log_segment *damaged;  /* torn, as it seems so far */
    struct log_segment *empty;    /* the first without a byte */
    uint64_t damage_from, damage_to;
    char why[128];
    bool mark_block_seen;
    bool looks;                   /* it writes nothing, and goes on behind what it refuses */
    uint8_t *buffer_raw, *buffer; /* as long as the longest block can be */
    size_t buffer_bytes;
};

/* What scanning one segment found. */
struct scan {
    struct log_window window;
    uint64_t stop;         /* the first place that is no block */
    uint64_t damage_limit; /* a write that began at `stop` ends here at the latest */
    uint64_t header_from;  /* from here on a header of the chain proves damage */
    uint64_t dirty_from, dirty_to;
    const char *why; /* NULL: zeros or the end of the file */
};

__attribute__((format(printf, 5, 6))) static int refuse(struct recovery *r, int err,
                                                        const struct log_segment *segment, uint64_t offset,
                                                        const char *format, ...)
{
    if (r->report->text[0] != '\0') /* the first reason stands */
        return err;
    if (segment != NULL) {
        char path[LOG_PATH_MAX];
        log_segment_path(r->dir, segment, path, sizeof(path));
        const char *name = strrchr(path, '/') + 1;
        snprintf(r->report->file, sizeof(r->report->file), "%.255s", name);
    } else {
        snprintf(r->report->file, sizeof(r->report->file), "mark");
    }
    r->report->offset = offset;
    va_list args;
    va_start(args, format);
    vsnprintf(r->report->text, sizeof(r->report->text), format, args);
    va_end(args);
    return err;
}

int log_window_get(struct log_window *w, uint64_t offset, size_t len, const uint8_t **data)
{
    parley_assert(len <= LOG_BLOCK_BYTES_MAX);
    if (offset > w->limit || len > w->limit - offset)
        return -PARLEY_ERR_CORRUPT;
    if (offset < w->offset || offset + len > w->offset + w->len) {
        size_t want = len > w->step_bytes ? len : w->step_bytes;
        if (want > w->limit - offset)
            want = (size_t)(w->limit - offset);
        int64_t got = w->files->ops->read(w->files, w->fd, w->data, want, offset);
        w->len = 0;
        if (got < 0)
            return (int)got;
        if ((size_t)got < len)
            return -PARLEY_ERR_CORRUPT;
        w->offset = offset;
        w->len = (size_t)got;
    }
    *data = w->data + (offset - w->offset);
    return 0;
}

bool log_chain_accepts(const struct log_chain *c, const struct log_block_header *h, uint64_t segment_id)
{
    if (h->segment_id != segment_id)
        return false;
    if (c->open) /* block 1 begins a log, and only block 1 */
        return (h->number == 1) == (segment_id == 1) &&
               (h->number != 1 || (h->previous_crc == 0 && h->first_position == 1));
    return h->number == c->number && h->first_position == c->position && h->ceiling >= c->ceiling &&
           h->previous_crc == c->previous_crc;
}

void log_chain_advance(struct log_chain *c, const struct log_block_header *h)
{
    *c = (struct log_chain){.number = h->number + 1,
                            .position = h->first_position + h->event_count,
                            .ceiling = h->ceiling,
                            .previous_crc = h->header_crc};
}

static int note_segment(void *owner, const char *name)
{
    struct recovery *r = owner;
    uint64_t id, bytes;
    uint32_t salt;
    if (!log_segment_parse(name, &id, &salt, &bytes))
        return 0;
    struct log_segment *s, **at = &r->segments;
    int err = log_segment_alloc(id, salt, bytes, &s);
    if (err != 0)
        return err;
    while (*at != NULL && (*at)->id < id)
        at = &(*at)->next;
    s->next = *at;
    *at = s;
    return 0;
}

static int check_mark_block(struct recovery *r, struct log_segment *s, uint64_t offset,
                            const struct log_block_header *h)
{
    if (h->number != r->mark.block_number)
        return 0;
    r->mark_block_seen = true;
    if (h->header_crc != r->mark.block_crc || h->first_position + h->event_count != r->mark.end)
        return refuse(r, -PARLEY_ERR_CORRUPT, s, offset, "block %llu is not the one that the mark names",
                      (unsigned long long)h->number);
    return 0;
}

/* Rule 2: whoever comes after a torn or an empty segment must be empty. */
static int judge_older(struct recovery *r)
{
    if (r->damaged != NULL)
        return refuse(r, -PARLEY_ERR_CORRUPT, r->damaged, r->damage_from,
                      "block %llu is bad (%s) in a segment that is not the last",
                      (unsigned long long)r->chain.number, r->why);
    if (r->empty != NULL)
        return refuse(r, -PARLEY_ERR_CORRUPT, r->empty, 0, "the segment is empty, but the next one is not");
    return 0;
}

/* Walks the blocks up to the first place that is none. */
static int scan_blocks(struct recovery *r, struct log_segment *s, struct scan *scan)
{
    const uint8_t *data = NULL;
    while (scan->stop < s->bytes) {
        uint64_t at = scan->stop;
        int err = log_window_get(&scan->window, at, LOG_BLOCK_ALIGN, &data);
        if (err != 0)
            return err;
        if (log_block_is_zero(data, LOG_BLOCK_ALIGN))
            break;
        err = judge_older(r); /* before its chain is blamed for the hole */
        if (err != 0)
            return err;
        struct log_block_header h;
        scan->damage_limit = at + LOG_BLOCK_BYTES_MAX;
        scan->why = "its header is damaged";
        if (log_block_get_header(data, s->salt, &h) != 0)
            return 0;
        if (!log_chain_accepts(&r->chain, &h, s->id))
            return refuse(r, -PARLEY_ERR_CORRUPT, s, at,
                          "block %llu does not continue the chain at block %llu",
                          (unsigned long long)h.number, (unsigned long long)r->chain.number);
        size_t padded = log_block_padded_bytes(h.payload_bytes);
        if (padded > s->bytes - at)
            return refuse(r, -PARLEY_ERR_CORRUPT, s, at, "block %llu is longer than its segment",
                          (unsigned long long)h.number);
        err = log_window_get(&scan->window, at, padded, &data);
        if (err != 0)
            return err;
        scan->damage_limit = scan->header_from = at + padded;
        scan->why = "its payload is damaged";
        if (log_block_check_payload(data, &h) != 0)
            return 0;
        if (log_block_check_records(data, &h) != 0)
            return refuse(r, -PARLEY_ERR_CORRUPT, s, at, "the records of block %llu do not add up",
                          (unsigned long long)h.number);
        err = check_mark_block(r, s, at, &h);
        if (err != 0)
            return err;
        s->used += padded;
        log_segment_note(s, h.first_position, h.number, h.previous_crc, padded);
        log_chain_advance(&r->chain, &h);
        scan->stop = at + padded;
        scan->header_from = scan->stop;
        scan->why = NULL;
    }
    scan->damage_limit = scan->stop + LOG_BLOCK_BYTES_MAX;
    scan->why = NULL;
    return 0;
}

/* Looks at what follows the last good block: zeros, the pieces of one write, or proof of damage. */
static int scan_rest(struct recovery *r, struct log_segment *s, struct scan *scan)
{
    const uint8_t *data;
    unsigned long long number = r->chain.number;
    const char *why = scan->why != NULL ? scan->why : "its place is zero";
    for (uint64_t at = scan->stop; at < s->bytes; at += LOG_BLOCK_ALIGN) {
        int err = log_window_get(&scan->window, at, LOG_BLOCK_ALIGN, &data);
        if (err != 0)
            return err;
        if (log_block_is_zero(data, LOG_BLOCK_ALIGN))
            continue;
        if (scan->dirty_to == 0)
            scan->dirty_from = at;
        scan->dirty_to = at + LOG_BLOCK_ALIGN;
        struct log_block_header h;
        if (at >= scan->header_from && log_block_get_header(data, s->salt, &h) == 0 &&
            h.segment_id == s->id && (r->chain.open || h.number >= r->chain.number))
            return refuse(r, -PARLEY_ERR_CORRUPT, s, scan->stop,
                          "block %llu is bad (%s), but block %llu follows at offset %llu", number, why,
                          (unsigned long long)h.number, (unsigned long long)at);
        if (at >= scan->damage_limit)
            return refuse(r, -PARLEY_ERR_CORRUPT, s, scan->stop,
                          "block %llu is bad (%s), and bytes that no torn write explains are at offset %llu",
                          number, why, (unsigned long long)at);
    }
    return 0;
}

static int judge_segment(struct recovery *r, struct log_segment *s, const struct scan *scan)
{
    bool has_bytes = s->used > 0 || scan->dirty_to > 0;
    int err = has_bytes ? judge_older(r) : 0;
    if (err != 0)
        return err;
    if (!has_bytes && r->empty == NULL)
        r->empty = s;
    if (scan->dirty_to > 0) {
        r->damaged = s;
        r->damage_from = scan->stop;
        r->damage_to = scan->dirty_to;
        snprintf(r->why, sizeof(r->why), "%s", scan->why != NULL ? scan->why : "its first piece is zero");
    }
    return 0;
}

/* Reads are of whole sectors, also of a file that was cut. */
static uint64_t whole_sectors(uint64_t bytes)
{
    return bytes / LOG_BLOCK_ALIGN * LOG_BLOCK_ALIGN;
}

static int scan_segment(struct recovery *r, struct log_segment *s)
{
    char path[LOG_PATH_MAX];
    log_segment_path(r->dir, s, path, sizeof(path));
    int fd;
    int err = r->files->ops->open(r->files, path, FILE_READ, &fd);
    if (err != 0)
        return err;
    uint64_t bytes;
    err = r->files->ops->size(r->files, fd, &bytes);
    if (err != 0)
        goto out;
    int cut = bytes == s->bytes
                  ? 0
                  : refuse(r, -PARLEY_ERR_CORRUPT, s, bytes, "the file has %llu bytes and should have %llu",
                           (unsigned long long)bytes, (unsigned long long)s->bytes);
    if (cut != 0 && !r->looks)
        err = cut;
    else
        err = r->files->ops->sync(r->files, fd);
    if (err != 0)
        goto out;
    struct scan scan = {.window = {.files = r->files,
                                   .fd = fd,
                                   .data = r->buffer,
                                   .step_bytes = LOG_BLOCK_BYTES_MAX,
                                   .limit = whole_sectors(bytes < s->bytes ? bytes : s->bytes)}};
    err = scan_blocks(r, s, &scan);
    if (err == 0 && cut == 0)
        err = scan_rest(r, s, &scan);
    if (err == 0 && cut == 0)
        err = judge_segment(r, s, &scan);
    if (cut != 0)
        err = cut;
out:
    r->files->ops->close(r->files, fd);
    return err;
}

static int scan_segments(struct recovery *r)
{
    r->chain = (struct log_chain){.number = 1, .position = 1, .open = true};
    for (struct log_segment *s = r->segments; s != NULL; s = s->next) {
        int err = scan_segment(r, s);
        if (err != 0)
            return err;
        if (s->next != NULL && s->next->id != s->id + 1)
            return refuse(r, -PARLEY_ERR_CORRUPT, s->next, 0, "segment %llu is missing",
                          (unsigned long long)s->id + 1);
    }
    return 0;
}

/* Rule 4, before anything is repaired. */
static int check_mark(struct recovery *r)
{
    unsigned long long marked = r->mark.block_number;
    bool lost = r->chain.open ? marked > 0 || r->segments->id != 1
                              : marked >= r->chain.number || r->mark.end > r->chain.position;
    if (lost && r->damaged != NULL)
        return refuse(r, -PARLEY_ERR_CORRUPT, r->damaged, r->damage_from,
                      "block %llu is bad (%s), but the mark says that block %llu was durable",
                      (unsigned long long)r->chain.number, r->why, marked);
    if (lost)
        return refuse(
            r, -PARLEY_ERR_LOST, NULL, log_mark_offset(r->mark.generation),
            "the log ends at position %llu, but the mark says that block %llu, up to position %llu, "
            "was durable",
            (unsigned long long)r->chain.position, marked, (unsigned long long)r->mark.end);
    if (r->mark_block_seen && r->mark.ceiling > r->chain.ceiling)
        return refuse(r, -PARLEY_ERR_CORRUPT, NULL, log_mark_offset(r->mark.generation),
                      "the mark's ceiling is above the log's");
    return 0;
}

static int repair_tail(struct recovery *r)
{
    if (r->damaged == NULL)
        return 0;
    char path[LOG_PATH_MAX];
    log_segment_path(r->dir, r->damaged, path, sizeof(path));
    int fd;
    int err = r->files->ops->open(r->files, path, FILE_WRITE, &fd);
    if (err != 0)
        return err;
    memset(r->buffer, 0, r->buffer_bytes);
    parley_assert(r->damage_to - r->damage_from <= r->buffer_bytes);
    err = r->files->ops->write(r->files, fd, r->buffer, (size_t)(r->damage_to - r->damage_from),
                               r->damage_from);
    if (err == 0)
        err = r->files->ops->sync(r->files, fd);
    r->files->ops->close(r->files, fd);
    r->report->torn_bytes = r->damage_to - r->damage_from;
    r->report->offset = r->damage_from;
    snprintf(r->report->file, sizeof(r->report->file), "%.255s", strrchr(path, '/') + 1);
    return err;
}

static int open_for_writing(struct recovery *r, struct log_segment *s)
{
    if (s->fd >= 0) /* just created */
        return 0;
    char path[LOG_PATH_MAX];
    log_segment_path(r->dir, s, path, sizeof(path));
    return r->files->ops->open(r->files, path, FILE_WRITE, &s->fd);
}

/* Empty segments behind the tail: the first becomes the spare, the others go, newest first. */
static int settle_tail(struct recovery *r, uint64_t block_bytes_max)
{
    struct log_segment *tail = r->segments;
    while (tail->next != NULL && tail->next->used > 0)
        tail = tail->next;
    int err = open_for_writing(r, tail);
    if (err != 0)
        return err;
    struct log_segment *spare = tail->next;
    while (spare != NULL && (spare->next != NULL || spare->bytes < block_bytes_max)) {
        struct log_segment *before = tail;
        while (before->next->next != NULL)
            before = before->next;
        err = log_segment_remove(r->files, r->dir, before->next);
        if (err != 0)
            return err;
        log_segment_destroy(r->files, &before->next);
        spare = tail->next;
    }
    if (spare != NULL) {
        err = open_for_writing(r, spare);
        if (err != 0)
            return err;
        tail->next = NULL;
    }
    r->chain.open = false;
    *r->out = (struct log_recovered){
        .first = r->segments, .tail = tail, .spare = spare, .chain = r->chain, .mark = r->mark};
    r->segments = NULL;
    return 0;
}

static int allocate_buffer(struct recovery *r, uint64_t segment_bytes)
{
    uint64_t bytes = segment_bytes; /* at least two sectors, which the mark needs */
    for (const struct log_segment *s = r->segments; s != NULL; s = s->next)
        bytes = s->bytes > bytes ? s->bytes : bytes;
    r->buffer_bytes = bytes < LOG_BLOCK_BYTES_MAX ? bytes : LOG_BLOCK_BYTES_MAX;
    r->buffer_raw = memory_alloc(r->buffer_bytes + LOG_BLOCK_ALIGN);
    if (r->buffer_raw == NULL)
        return -PARLEY_ERR_NOMEM;
    uintptr_t past = (uintptr_t)r->buffer_raw % LOG_BLOCK_ALIGN;
    r->buffer = r->buffer_raw + (LOG_BLOCK_ALIGN - past) % LOG_BLOCK_ALIGN;
    return 0;
}

/* Lists the segments and reads the mark. */
static int find_files(struct recovery *r, uint64_t segment_bytes)
{
    int err = r->files->ops->sync_dir(r->files, r->dir);
    if (err != 0)
        return err;
    err = r->files->ops->list(r->files, r->dir, note_segment, r);
    if (err != 0)
        return err;
    err = allocate_buffer(r, segment_bytes);
    if (err != 0)
        return err;
    err = log_mark_read(r->files, r->dir, r->buffer, &r->mark);
    if (err == -PARLEY_ERR_NOT_FOUND && (r->segments != NULL || r->must_exist))
        return refuse(r, -PARLEY_ERR_LOST, NULL, 0, "the mark is missing");
    if (err == -PARLEY_ERR_CORRUPT)
        return refuse(r, err, NULL, 0, "the mark is damaged");
    if (err == 0 && r->segments == NULL && (r->mark.block_number > 0 || r->must_exist))
        return refuse(r, -PARLEY_ERR_LOST, NULL, 0, "all segments are missing");
    return err;
}

static int recover(struct recovery *r, uint64_t segment_bytes)
{
    int err = find_files(r, segment_bytes);
    if (err == -PARLEY_ERR_NOT_FOUND) {
        r->mark = (struct log_mark){.generation = 1, .end = 1};
        err = log_mark_create(r->files, r->dir, r->buffer, &r->mark);
    }
    if (err == 0 && r->segments == NULL)
        err = log_segment_create(r->files, r->dir, 1, segment_bytes, &r->segments);
    if (err == 0)
        err = scan_segments(r);
    if (err == 0)
        err = check_mark(r);
    if (err == 0)
        err = repair_tail(r);
    if (err == 0)
        err = settle_tail(r, segment_bytes < LOG_BLOCK_BYTES_MAX ? segment_bytes : LOG_BLOCK_BYTES_MAX);
    return err;
}

static void release(struct recovery *r)
{
    while (r->segments != NULL) {
        struct log_segment *next = r->segments->next;
        log_segment_destroy(r->files, &r->segments);
        r->segments = next;
    }
    memory_free(r->buffer_raw);
}

int log_recover(struct file_layer *files, const char *dir, uint64_t segment_bytes, bool must_exist,
                struct log_report *report, struct log_recovered *out)
{
    struct recovery r = {.files = files, .dir = dir, .must_exist = must_exist, .report = report, .out = out};
    int err = recover(&r, segment_bytes);
    if (err != 0 && report->text[0] == '\0')
        snprintf(report->text, sizeof(report->text), "recovery failed: %s", parley_err_text(err));
    release(&r);
    return err;
}

/* ---- looking, without a hand on it ---- */

static void note_seen(struct log_report *report, uint64_t end, uint64_t ceiling, uint64_t block)
{
    report->seen_end = end > report->seen_end ? end : report->seen_end;
    report->seen_ceiling = ceiling > report->seen_ceiling ? ceiling : report->seen_ceiling;
    report->seen_block = block > report->seen_block ? block : report->seen_block;
}

/* Headers behind the good blocks: of them nothing is believed but how far the log went. */
static int note_headers(struct recovery *r, const struct log_segment *s)
{
    char path[LOG_PATH_MAX];
    log_segment_path(r->dir, s, path, sizeof(path));
    struct log_window window = {.files = r->files, .data = r->buffer, .step_bytes = r->buffer_bytes};
    int err = r->files->ops->open(r->files, path, FILE_READ, &window.fd);
    if (err != 0)
        return err;
    err = r->files->ops->size(r->files, window.fd, &window.limit);
    window.limit = whole_sectors(window.limit);
    const uint8_t *data;
    struct log_block_header h;
    for (uint64_t at = s->used; err == 0 && at + LOG_BLOCK_ALIGN <= window.limit; at += LOG_BLOCK_ALIGN) {
        err = log_window_get(&window, at, LOG_BLOCK_ALIGN, &data);
        if (err == 0 && log_block_get_header(data, s->salt, &h) == 0)
            note_seen(r->report, h.first_position + h.event_count, h.ceiling, h.number);
    }
    r->files->ops->close(r->files, window.fd);
    return err;
}

static bool is_judgement(int err)
{
    return err == -PARLEY_ERR_CORRUPT || err == -PARLEY_ERR_LOST;
}

static int look(struct recovery *r, uint64_t segment_bytes, int *verdict)
{
    int err = find_files(r, segment_bytes);
    if (err == -PARLEY_ERR_NOT_FOUND) /* neither a mark nor a segment: nobody has begun it */
        return 0;
    if (is_judgement(err))
        *verdict = err;
    if ((err != 0 && !is_judgement(err)) || r->segments == NULL)
        return is_judgement(err) ? 0 : err;
    err = scan_segments(r);
    if (err == 0)
        err = check_mark(r);
    if (is_judgement(err) && *verdict == 0)
        *verdict = err;
    for (struct log_segment *s = r->segments; s != NULL && (err == 0 || is_judgement(err)); s = s->next) {
        r->report->seen_segment = s->id;
        err = note_headers(r, s);
    }
    return is_judgement(err) ? 0 : err;
}

int log_recover_look(struct file_layer *files, const char *dir, uint64_t segment_bytes, bool must_exist,
                     struct log_report *report, int *verdict, struct log_recovered *out)
{
    struct recovery r = {
        .files = files, .dir = dir, .must_exist = must_exist, .report = report, .looks = true};
    r.chain = (struct log_chain){.number = 1, .position = 1};
    *verdict = 0;
    int err = look(&r, segment_bytes, verdict);
    if (err == 0) {
        struct log_segment *tail = r.segments;
        while (tail != NULL && tail->next != NULL && tail->next->used > 0)
            tail = tail->next;
        if (r.damaged != NULL && *verdict == 0)
            report->torn_bytes = r.damage_to - r.damage_from;
        r.chain.open = false;
        note_seen(report, r.chain.position, r.chain.ceiling, r.chain.number - 1);
        note_seen(report, r.mark.end, r.mark.ceiling, r.mark.block_number);
        *out = (struct log_recovered){.first = r.segments, .tail = tail, .chain = r.chain, .mark = r.mark};
        r.segments = NULL;
    }
    release(&r);
    return err;
}
