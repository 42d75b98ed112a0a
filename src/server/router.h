/* src/server/router.h: brings a request to the reactor that owns its shard, and the answer home.
 *
 * Why:    any core may accept any connection; the owner's shard serves it.
 * Shape:  same core: a call. Another: the pointer goes through the mailbox's request lane, its answer through the reply
 *         lane, which has room kept for it.
 * Thread: each router on its reactor.
 * Errors: a full lane answers the request with FULL.
 */
#ifndef PARLEY_SERVER_ROUTER_H
#define PARLEY_SERVER_ROUTER_H

#include "src/base/clock.h"
#include "src/base/hash.h"
#include "src/reactor/mailbox.h"
#include "src/shard/shard.h"

struct router {
    const struct hash_key *key;
    const struct clock_source *clock;
    struct mailbox *mailbox;
    struct shard **shards; /* by number; of this reactor where it owns them, else NULL */
    uint32_t shard_count;
    uint16_t reactor_count;
};

/* The interface that doors use. */
struct request_router router_interface(struct router *router);
/* Shard `n` lives on this reactor. */
uint16_t router_reactor_of(const struct router *router, uint32_t shard);
/* The mailbox's messages come here. */
void router_message(struct router *router, const struct mailbox_message *message);

#endif
