/* tools/commands/progress.h: how far it is, on standard error.
 *
 * Why:    a bar on a terminal, lines every few seconds in a log, nothing when told to be quiet.
 * Shape:  progress_begin -> progress_show often (it writes rarely) -> progress_end; progress_clear before other output.
 * Thread: one.
 */
#ifndef PARLEY_TOOLS_PROGRESS_H
#define PARLEY_TOOLS_PROGRESS_H

#include "src/base/base.h"

struct progress {
    const char *what; /* "messages" */
    bool quiet, terminal, drawn;
    uint64_t began_ms, shown_ms;
};

void progress_begin(struct progress *p, const char *what, bool quiet);
/* `part` of `whole` is the percentage, `done` is counted and gives the rate. whole 0: unknown. */
void progress_show(struct progress *p, uint64_t done, uint64_t part, uint64_t whole);
void progress_clear(struct progress *p);
/* Milliseconds since it began. */
uint64_t progress_end(struct progress *p);

#endif
