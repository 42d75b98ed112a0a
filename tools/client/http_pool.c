#include "tools/client/http_pool.h"

#include "src/base/clock.h"
#include "src/base/error.h"
#include "tools/client/backoff.h"
#include "tools/client/refusal.h"

enum { TURN_MS = 200 };

struct lane { /* one connection and its job */
    struct http_client client;
    bool busy;
    size_t job;
    uint64_t not_before_ms, began_ms;
};

struct pool {
    struct lane lanes[HTTP_POOL_CONNECTIONS];
    const struct http_pool_ops *ops;
    void *owner;
    size_t next_job, job_count;
    struct backoff backoff;
    struct text path, body;
};

static uint64_t now_ms(void)
{
    return clock_monotonic_ms(clock_real());
}

/* Not now. PARLEY_ERR_IO: it was tried for long enough. */
static int put_off(struct pool *p, struct lane *lane, uint64_t at_least_ms)
{
    uint64_t wait;
    if (backoff_next(&p->backoff, now_ms(), at_least_ms, &wait) != 0)
        return -PARLEY_ERR_IO;
    if (p->backoff.failures == 1 && p->ops->waits)
        p->ops->waits(p->owner);
    lane->not_before_ms = now_ms() + wait;
    return 0;
}

static int begin(struct pool *p, struct lane *lane)
{
    const char *method = "GET";
    if (!lane->busy) {
        if (p->next_job == p->job_count)
            return 0;
        lane->job = p->next_job++;
        lane->busy = true;
    }
    text_clear(&p->path);
    text_clear(&p->body);
    int err = p->ops->make(p->owner, lane->job, &method, &p->path, &p->body);
    if (err)
        return err;
    lane->began_ms = now_ms();
    err = http_begin(&lane->client, method, text_words(&p->path), text_span(&p->body));
    return err == -PARLEY_ERR_IO ? put_off(p, lane, 0) : err;
}

static int answered(struct pool *p, struct lane *lane, const struct http_answer *answer)
{
    if (answer->status >= 400) {
        struct refusal refusal;
        refusal_read(&refusal, answer->status, answer->body);
        if (refusal_passes(&refusal))
            return put_off(p, lane, refusal.retry_after_ms);
    }
    backoff_reset(&p->backoff);
    int err = p->ops->done(p->owner, lane->job, answer);
    lane->busy = err == -PARLEY_ERR_AGAIN;
    return lane->busy ? 0 : err;
}

static int look(struct pool *p, struct lane *lane, int turn)
{
    struct http_answer answer;
    if (!lane->client.waiting)
        return 0;
    bool late = now_ms() - lane->began_ms > HTTP_TIMEOUT_MS;
    int err = http_poll(&lane->client, late ? -PARLEY_ERR_IO : turn, &answer);
    if (err == 0)
        return answered(p, lane, &answer);
    if (err == -PARLEY_ERR_AGAIN)
        return 0;
    return err == -PARLEY_ERR_IO ? put_off(p, lane, 0) : err;
}

static bool busy(const struct pool *p)
{
    bool any = p->next_job < p->job_count;
    for (size_t i = 0; i < HTTP_POOL_CONNECTIONS; i++)
        any = any || p->lanes[i].busy;
    return any;
}

static int turn(struct pool *p)
{
    struct stream *streams[HTTP_POOL_CONNECTIONS];
    int errors[HTTP_POOL_CONNECTIONS], err = 0;
    uint64_t now = now_ms(), wait = TURN_MS;
    for (size_t i = 0; i < HTTP_POOL_CONNECTIONS && !err; i++) {
        struct lane *lane = &p->lanes[i];
        streams[i] = &lane->client.stream;
        if (!lane->client.waiting && lane->not_before_ms <= now)
            err = begin(p, lane);
        if (lane->not_before_ms > now && lane->not_before_ms - now < wait)
            wait = lane->not_before_ms - now;
    }
    if (err)
        return err;
    if (stream_turn_all(streams, errors, HTTP_POOL_CONNECTIONS, wait) != 0)
        for (size_t i = 0; i < HTTP_POOL_CONNECTIONS; i++)
            errors[i] = -PARLEY_ERR_AGAIN;
    for (size_t i = 0; i < HTTP_POOL_CONNECTIONS && !err; i++)
        err = look(p, &p->lanes[i], errors[i]);
    return err;
}

int http_pool_run(const struct url *url, const char *token, size_t job_count, uint64_t retry_for_ms,
                  const struct http_pool_ops *ops, void *owner)
{
    struct pool p = {
        .ops = ops, .owner = owner, .job_count = job_count, .backoff = {.limit_ms = retry_for_ms}};
    int err = 0;
    for (size_t i = 0; i < HTTP_POOL_CONNECTIONS; i++)
        http_client_init(&p.lanes[i].client, url, token);
    while (!err && busy(&p) && !(ops->stopped && ops->stopped()))
        err = turn(&p);
    for (size_t i = 0; i < HTTP_POOL_CONNECTIONS; i++)
        http_client_close(&p.lanes[i].client);
    text_free(&p.path);
    text_free(&p.body);
    return err;
}
