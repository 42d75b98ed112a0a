/* tools/commands/messages.h: a conversation's messages, page by page over HTTP.
 *
 * Errors: as session_ask: told already.
 * Thread: one at a time.
 */
#ifndef PARLEY_TOOLS_MESSAGES_H
#define PARLEY_TOOLS_MESSAGES_H

#include "tools/commands/session.h"

enum { MESSAGES_PAGE_MAX = 200 };

typedef int messages_fn(void *owner, const json_t *messages);

/* From old to new; `fn` gets each page (an array) and ends the walk with an error of its own. */
PARLEY_MUST_USE int messages_after(struct session *s, const char *conversation, const char *after,
                                   uint64_t limit, messages_fn *fn, void *owner);
/* Appends pages to `pages`, the newest page first. `before` may be NULL. */
PARLEY_MUST_USE int messages_before(struct session *s, const char *conversation, const char *before,
                                    uint64_t limit, json_t *pages);

#endif
