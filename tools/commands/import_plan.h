/* tools/commands/import_plan.h: what is in a file, before anything of it is sent.
 *
 * Why:    a conversation can be created with its first members at once, a bad line is told before the first message is
 *         there, and the whole is known for the progress.
 * Shape:  file -> import_plan_read (the first pass) -> conversations with their members and line counts, people, counts
 *         Lines are judged by import_line.h alone, so that the second pass judges the same.
 * Owner:  a zeroed plan is empty; import_plan_clear frees it.
 * Thread: one.
 * Errors: told on standard error: the first PLAN_TOLD_MAX bad lines by number. PARLEY_ERR_BAD_REQUEST: a bad line, and
 *         strict; else as the line reader's.
 */
#ifndef PARLEY_TOOLS_IMPORT_PLAN_H
#define PARLEY_TOOLS_IMPORT_PLAN_H

#include "tools/commands/names.h"
#include "tools/commands/progress.h"

enum { PLAN_TOLD_MAX = 20 };

struct plan_conversation {
    uint64_t key; /* names_hash_64 of its name: part of its messages' client ids */
    char id[33];  /* once it is created */
    bool was_there;
    uint32_t *members; /* people in the order of their first message */
    uint32_t member_count, member_room;
    uint32_t created_with; /* so many of them */
};

struct import_plan {
    struct names conversations, people;
    struct plan_conversation *list; /* by number in `conversations` */
    uint32_t list_room;
    uint64_t *pairs; /* set of conversation << 32 | person, plus 1; open addressing */
    uint64_t pair_count, pair_room;
    uint64_t lines, good, empty, bad;
};

struct plan_source {
    const char *name; /* for messages */
    int fd;
    uint64_t bytes; /* of the file */
    bool strict;
    bool (*stopped)(void);
};

PARLEY_MUST_USE int import_plan_read(struct import_plan *plan, const struct plan_source *source,
                                     struct progress *progress);
void import_plan_clear(struct import_plan *plan);
/* The sentence for an error of the reader. */
const char *import_plan_reason(int err);

#endif
