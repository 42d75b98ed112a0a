/* src/verify/verify.h: is what a data folder holds what was acknowledged?
 *
 * Why:    a promise that nobody can check is not believed; and a folder that a server refuses needs a remedy.
 * Shape:  identity -> logs, block by block -> stores, read only -> [log's tail applied above each object's position, in
 *         memory] -> conversations with their messages, dedup, members -> rows of nobody, users -> memberships, offsets.
 *         A store that is behind its log is normal: the state that is judged is rows plus the replay of the log's tail.
 *         With `repair`: what is derived is made again; a damaged log begins again; then all is looked at once more.
 *         A repair that is stopped at any place is repeated: nothing that it needs is gone before it is done.
 * Memory: the objects that the logs' tails touch and the receipts that they hold (at most what the logs keep), and one
 *         conversation at a time.
 * Thread: one; blocks. Nothing else has the folder open: its lock is held.
 * Errors: 0: it was looked at, see the report. Else why it could not be, with a sentence in `text`: -PARLEY_ERR_FULL: a
 *         server runs on it; -PARLEY_ERR_NOT_FOUND; -PARLEY_ERR_IO; -PARLEY_ERR_NOMEM; -PARLEY_ERR_LIMIT: positions or ids
 *         are used up.
 */
#ifndef PARLEY_VERIFY_H
#define PARLEY_VERIFY_H

#include "src/verify/verify_report.h"

enum { VERIFY_TEXT_BYTES = 640 };

struct file_layer;

struct verify_options {
    const char *dir;
    bool repair, deep;        /* deep: reads every block of every table, too */
    struct file_layer *files; /* of the logs; NULL: the real one */
};

/* Of one shard, for a table. */
struct verify_counts {
    uint64_t log_start, log_end, redo;
    uint64_t torn_bytes; /* behind the log's last block: a power cut's, and the next start clears it */
    uint64_t conversations, messages, members, memberships, users;
};

struct verify_summary {
    uint32_t shard_count;
    struct verify_counts *shards;
};

/* The summary is of the last look. Owns: verify_summary_clear. */
PARLEY_MUST_USE int verify_folder(const struct verify_options *options, struct verify_report *report,
                                  struct verify_summary *summary, char text[VERIFY_TEXT_BYTES]);
void verify_summary_clear(struct verify_summary *summary);

#endif
