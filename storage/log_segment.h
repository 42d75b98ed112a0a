/* storage/log_segment.h: the files that a log consists of, and the helper that makes and removes them.
 *
 * Why:    a pre-zeroed file makes a durable write one device write; zeroing takes long and must not be done
 * by a reactor. A segment has its final name only when all its zeros are durable. Names:  <id>-<salt>-<4 KiB
 * sectors>.seg in hexadecimal: recovery knows size and salt without reading. Thread: segments belong to the
 * log. The helper's functions are called by the log's thread; its work runs on a thread of its own, or in
 * log_helper_work when it has none.
 */
#ifndef PARLEY_STORAGE_LOG_SEGMENT_H
#define PARLEY_STORAGE_LOG_SEGMENT_H

#include "storage/file.h"
#include "storage/log.h"

enum { LOG_PATH_MAX = 4096, LOG_DIR_MAX = LOG_PATH_MAX - 64, LOG_INDEX_STEP_BYTES = 256 << 10 };

/* Where a reader may begin. */
struct log_index_entry {
    uint64_t position, number, offset;
    uint32_t previous_crc;
};

struct log_segment {
    uint64_t id, bytes;
    uint32_t salt;
    int fd;                   /* -1 when it is not being written */
    uint64_t used, durable;   /* bytes given to blocks; bytes of durable blocks */
    uint64_t first_position;  /* of its first durable block */
    struct log_segment *next; /* newer */
    uint32_t index_count, index_max;
    struct log_index_entry index[];
};

/* A block of so many bytes is now durable behind the others. */
void log_segment_note(struct log_segment *segment, uint64_t position, uint64_t number, uint32_t previous_crc,
                      uint64_t block_bytes);
void log_segment_path(const char *dir, const struct log_segment *segment, char *path, size_t len);
/* False when the name is not that of a segment. */
bool log_segment_parse(const char *name, uint64_t *id, uint32_t *salt, uint64_t *bytes);
/* Memory only. Owns: the caller destroys. */
PARLEY_MUST_USE int log_segment_alloc(uint64_t id, uint32_t salt, uint64_t bytes, struct log_segment **out);
/* Closes its descriptor and frees it; the file stays. */
void log_segment_destroy(struct file_layer *files, struct log_segment **segment);
/* A durable, zeroed, named file, open for writing. Blocks. */
PARLEY_MUST_USE int log_segment_create(struct file_layer *files, const char *dir, uint64_t id, uint64_t bytes,
                                       struct log_segment **out);
/* Removes the file durably. Blocks. */
PARLEY_MUST_USE int log_segment_remove(struct file_layer *files, const char *dir,
                                       const struct log_segment *segment);

struct log_helper;
PARLEY_MUST_USE int log_helper_create(struct file_layer *files, const char *dir, uint64_t segment_bytes,
                                      bool thread, struct log_helper **out);
/* Finishes what it is doing, removes what is waiting for removal. */
void log_helper_destroy(struct log_helper **helper);
/* Asks for an empty segment; one at a time. */
void log_helper_want(struct log_helper *helper, uint64_t id);
/* Errors: -PARLEY_ERR_AGAIN: not ready, or not asked for; otherwise the making's error, once, and the wish is
 * over. Owns: the caller takes the segment. */
PARLEY_MUST_USE int log_helper_take(struct log_helper *helper, struct log_segment **out);
/* Owns: takes the segment; its file will be removed, older ones first. */
void log_helper_remove(struct log_helper *helper, struct log_segment **segment);
/* The first error of a removal, or 0. */
PARLEY_MUST_USE int log_helper_error(struct log_helper *helper);
/* Without a thread: does what is waiting. */
void log_helper_work(struct log_helper *helper);

#endif
