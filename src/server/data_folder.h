/* src/server/data_folder.h: what is frozen when a data folder is created.
 *
 * Why:    shard count, hash and key decide where every object lies; another count would look for them
 * elsewhere and find nothing. So they are written once and a start with others is refused. Shape:
 * DIR/identity, a text file of `key = value` lines closed by a crc32c of all before it; DIR/lock;
 *         DIR/shard-NNNN/{log,db}, made by who opens them.
 * Thread: start-up only; blocks.
 * Errors: 0 or a negative enum parley_err, with a sentence for the operator in `text`.
 */
#ifndef PARLEY_SERVER_DATA_FOLDER_H
#define PARLEY_SERVER_DATA_FOLDER_H

#include "src/base/base.h"
#include "src/base/hash.h"

enum { DATA_FOLDER_FORMAT = 1, DATA_FOLDER_TEXT_BYTES = 512 };

struct data_folder {
    uint32_t format;
    uint32_t shard_count;
    struct hash_key key;
    uint64_t epoch; /* rises with every restore */
    bool complete;  /* all shards were open once: from then on none may be missing */
    int lock_fd;    /* held until closed: one server a folder */
};

/* Opens, or creates with `shard_count` shards when there is nothing. shard_count 0: whatever is there,
 * `cores` for a new folder. Errors: BAD_REQUEST: another count than the folder's; FULL: another server runs
 * on it; LOST: a shard or its log is missing from a complete folder; CORRUPT; IO; DISK_FULL. Owns: on success the caller closes. */
PARLEY_MUST_USE int data_folder_open(const char *dir, uint32_t shard_count, uint32_t cores,
                                     struct data_folder *out, char text[DATA_FOLDER_TEXT_BYTES]);
/* All shards are open: durable when it returns. */
PARLEY_MUST_USE int data_folder_completed(const char *dir, struct data_folder *folder,
                                          char text[DATA_FOLDER_TEXT_BYTES]);
/* One that is there, for a tool: nothing is made, and what is damaged stays so. A folder without a lock file, a copy, is
 * locked only with `make_lock`. Errors: NOT_FOUND: it is none; BAD_REQUEST: of another format; FULL; CORRUPT; IO. */
PARLEY_MUST_USE int data_folder_look(const char *dir, bool make_lock, struct data_folder *out,
                                     char text[DATA_FOLDER_TEXT_BYTES]);
/* After a repair that lost events, as after a restore: cursors of before mean nothing any more. */
PARLEY_MUST_USE int data_folder_raise_epoch(const char *dir, struct data_folder *folder,
                                            char text[DATA_FOLDER_TEXT_BYTES]);
void data_folder_close(struct data_folder *folder);

#endif
