#include "src/server/router.h"

#include "src/base/error.h"

uint16_t router_reactor_of(const struct router *router, uint32_t shard)
{
    return (uint16_t)(shard % router->reactor_count);
}

static void done_here(struct shard_request *request)
{
    request->answered(request);
}

static void done_for_another(struct shard_request *request)
{
    struct router *router = request->home;
    struct mailbox_message message = {.body.pointers = {request}};
    mailbox_send_reply(router->mailbox, request->origin, &message);
}

static void submit(void *owner, struct shard_request *request)
{
    struct router *router = owner;
    request->shard = request->kind == SHARD_DERIVE
                         ? request->derive.source
                         : hash_shard(router->key, shard_request_key(request), router->shard_count);
    uint16_t to = router_reactor_of(router, request->shard);
    if (to == mailbox_index(router->mailbox)) {
        request->done = done_here;
        shard_submit(router->shards[request->shard], request);
        return;
    }
    struct mailbox_message message = {.body.pointers = {request}};
    request->origin = mailbox_index(router->mailbox);
    int err = mailbox_send_request(router->mailbox, to, &message);
    if (err) { /* once sent, it is another core's */
        request->error = err;
        request->answered(request);
    }
}

void router_message(struct router *router, const struct mailbox_message *message)
{
    struct shard_request *request = message->body.pointers[0];
    if (message->lane == MAILBOX_REPLY) {
        request->answered(request);
        return;
    }
    parley_assert(message->lane == MAILBOX_REQUEST && router->shards[request->shard]);
    request->home = router;
    request->done = done_for_another;
    shard_submit(router->shards[request->shard], request);
}

static struct id16 hash(void *owner, const void *data, size_t len)
{
    const struct router *router = owner;
    return hash_128(router->key, data, len);
}

static uint64_t now_ms(void *owner)
{
    const struct router *router = owner;
    return clock_wall_ms(router->clock);
}

struct request_router router_interface(struct router *router)
{
    return (struct request_router){router, hash, now_ms, submit};
}
