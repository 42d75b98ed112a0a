/* src/shard/request.h: what a door asks of a shard, and how the answer comes back.
 *
 * Why:    the same for every protocol, and the same on one core and across cores.
 * Shape:  door -> request_router.submit -> owner's shard -> done (on the shard's core) -> answered (on the door's core)
 * Owner:  the door's, from submit until `answered`: command and all that it points to must live so long. While a shard
 *         has it nobody else touches it.
 */
#ifndef PARLEY_SHARD_REQUEST_H
#define PARLEY_SHARD_REQUEST_H

#include "src/machine/machine.h"

enum { HISTORY_LIMIT_MAX = 200 };

enum shard_request_kind {
    SHARD_COMMAND, /* `command` */
    SHARD_HISTORY  /* `history`; command.conversation, actor, actor_hash and service say whose and who asks */
};

/* A page of messages in rising order: the oldest after `after`, or the newest before `before` (0: the newest). */
struct history_query {
    uint64_t after, before;
    uint32_t limit;
    bool forward; /* by `after` */
};

struct history_page {
    uint8_t *entries; /* as in a chunk (src/machine/chunk.h); the door frees it with memory_free */
    size_t len;
    uint32_t count;
    bool more; /* there is more in that direction */
};

struct shard_request {
    enum shard_request_kind kind;
    struct command command;
    struct history_query history;
    /* Out: 0 with id and seq of the (first) result, or why it is refused. */
    int error;
    bool duplicate;
    uint64_t id, seq;
    struct history_page page;
    void (*answered)(struct shard_request *request); /* exactly once, perhaps within submit */
    void *owner;
    /* The router's and the shard's own. */
    void (*done)(struct shard_request *request);
    struct shard_request *next;
    uint64_t waits_for_id;
    void *home;
    uint32_t shard;
    uint16_t origin;
};

/* How a door reaches the shards; one for each reactor. */
struct request_router {
    void *owner;
    struct id16 (*hash)(void *owner, const void *data, size_t len);
    uint64_t (*now_ms)(void *owner);
    void (*submit)(void *owner, struct shard_request *request);
};

#endif
