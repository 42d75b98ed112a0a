/* src/shard/history.h: pages of a conversation's messages, out of the chunks in memory.
 *
 * Shape:  keyset pages by message id, stable under concurrent writes: no gap, no repeat.
 * Thread: the shard's reactor.
 * Errors: -PARLEY_ERR_NOMEM, -PARLEY_ERR_CORRUPT; then the page is empty.
 */
#ifndef PARLEY_SHARD_HISTORY_H
#define PARLEY_SHARD_HISTORY_H

#include "src/shard/request.h"

PARLEY_MUST_USE int history_read(const struct conversation *conversation, const struct history_query *query,
                                 struct shard_page *out);

#endif
