#include "storage/reader_pool.h"

#include <pthread.h>

#include "src/base/error.h"
#include "src/base/memory.h"

#define POOL_MAGIC UINT64_C(0x50524c59504f4f4c)

enum { LOAD_THREADS_DEFAULT = 1, SHARED_THREADS_DEFAULT = 2, JOBS_MAX_DEFAULT = 1024, THREADS_MAX = 256 };

struct job_list {
    struct reader_job *head, **tail;
};

/* The way back to one reactor. */
struct port {
    pthread_mutex_t lock;
    struct job_list finished;
    void (*wake)(void *owner);
    void *owner;
};

struct reader_pool {
    uint64_t magic;
    struct reader_pool_options options;
    pthread_mutex_t lock; /* of the queues, counts and `closing` */
    pthread_cond_t load_ready, shared_ready;
    struct job_list waiting[READER_CLASS_COUNT];
    uint32_t job_count[READER_CLASS_COUNT];
    enum reader_class turn; /* of the two that alternate on shared threads, which is first */
    uint32_t shared_idle;
    bool closing;
    uint32_t thread_count;
    pthread_t *threads;
    struct port *ports;
};

static void list_clear(struct job_list *list)
{
    list->head = NULL;
    list->tail = &list->head;
}

static void list_push(struct job_list *list, struct reader_job *job)
{
    job->next = NULL;
    *list->tail = job;
    list->tail = &job->next;
}

static struct reader_job *list_pop(struct job_list *list)
{
    struct reader_job *job = list->head;
    if (!job)
        return NULL;
    list->head = job->next;
    if (!list->head)
        list->tail = &list->head;
    return job;
}

/* For a shared thread; `lock` held. */
static struct reader_job *take_shared(struct reader_pool *pool)
{
    enum reader_class first = pool->turn;
    enum reader_class second = first == READER_CONSUMER ? READER_HISTORY : READER_CONSUMER;
    struct reader_job *job = list_pop(&pool->waiting[first]);
    if (job) {
        pool->turn = second;
        return job;
    }
    job = list_pop(&pool->waiting[second]);
    return job ? job : list_pop(&pool->waiting[READER_LOAD]);
}

static void finish(struct reader_pool *pool, struct reader_job *job)
{
    struct port *port = &pool->ports[job->reactor];
    pthread_mutex_lock(&port->lock);
    bool first = !port->finished.head;
    list_push(&port->finished, job);
    void (*wake)(void *) = first ? port->wake : NULL; /* else it was woken and has not come yet */
    void *owner = port->owner;
    pthread_mutex_unlock(&port->lock);
    if (wake)
        wake(owner);
}

static void serve(struct reader_pool *pool, bool shared)
{
    pthread_mutex_lock(&pool->lock);
    for (;;) {
        struct reader_job *job = shared ? take_shared(pool) : list_pop(&pool->waiting[READER_LOAD]);
        if (job) {
            pthread_mutex_unlock(&pool->lock);
            job->run(job->owner);
            finish(pool, job);
            pthread_mutex_lock(&pool->lock);
            continue;
        }
        if (pool->closing)
            break;
        pool->shared_idle += shared;
        pthread_cond_wait(shared ? &pool->shared_ready : &pool->load_ready, &pool->lock);
        pool->shared_idle -= shared;
    }
    pthread_mutex_unlock(&pool->lock);
}

static void *load_main(void *arg)
{
    struct reader_pool *pool = arg;
    parley_assert(pool->magic == POOL_MAGIC);
    serve(pool, false);
    return NULL;
}

static void *shared_main(void *arg)
{
    struct reader_pool *pool = arg;
    parley_assert(pool->magic == POOL_MAGIC);
    serve(pool, true);
    return NULL;
}

static int threads_start(struct reader_pool *pool)
{
    uint32_t total = pool->options.load_thread_count + pool->options.shared_thread_count;
    pool->threads = memory_alloc(total * sizeof *pool->threads);
    if (!pool->threads)
        return -PARLEY_ERR_NOMEM;
    for (; pool->thread_count < total; pool->thread_count++) {
        bool load = pool->thread_count < pool->options.load_thread_count;
        if (pthread_create(&pool->threads[pool->thread_count], NULL, load ? load_main : shared_main, pool) !=
            0)
            return -PARLEY_ERR_NOMEM;
    }
    return 0;
}

static void set_defaults(struct reader_pool_options *options)
{
    if (!options->load_thread_count)
        options->load_thread_count = LOAD_THREADS_DEFAULT;
    if (!options->shared_thread_count)
        options->shared_thread_count = SHARED_THREADS_DEFAULT;
    for (int c = 0; c < READER_CLASS_COUNT; c++)
        if (!options->job_count_max[c])
            options->job_count_max[c] = JOBS_MAX_DEFAULT;
    parley_assert(options->load_thread_count <= THREADS_MAX && options->shared_thread_count <= THREADS_MAX);
}

int reader_pool_create(const struct reader_pool_options *options, struct reader_pool **out)
{
    parley_assert(options->reactor_count > 0);
    *out = NULL;
    struct reader_pool *pool = memory_zalloc(sizeof *pool);
    if (!pool)
        return -PARLEY_ERR_NOMEM;
    pool->magic = POOL_MAGIC;
    pool->options = *options;
    pool->turn = READER_CONSUMER;
    set_defaults(&pool->options);
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->load_ready, NULL);
    pthread_cond_init(&pool->shared_ready, NULL);
    for (int c = 0; c < READER_CLASS_COUNT; c++)
        list_clear(&pool->waiting[c]);
    int err = -PARLEY_ERR_NOMEM;
    pool->ports = memory_zalloc(options->reactor_count * sizeof *pool->ports);
    if (!pool->ports)
        goto fail;
    for (uint32_t r = 0; r < options->reactor_count; r++) {
        pthread_mutex_init(&pool->ports[r].lock, NULL);
        list_clear(&pool->ports[r].finished);
    }
    err = threads_start(pool);
    if (err)
        goto fail;
    *out = pool;
    return 0;
fail:
    reader_pool_destroy(&pool);
    return err;
}

void reader_pool_destroy(struct reader_pool **out)
{
    struct reader_pool *pool = *out;
    if (!pool)
        return;
    parley_assert(pool->magic == POOL_MAGIC);
    *out = NULL;
    pthread_mutex_lock(&pool->lock);
    pool->closing = true; /* submit refuses; the threads end when the queues are empty */
    pthread_cond_broadcast(&pool->load_ready);
    pthread_cond_broadcast(&pool->shared_ready);
    pthread_mutex_unlock(&pool->lock);
    for (uint32_t t = 0; t < pool->thread_count; t++)
        pthread_join(pool->threads[t], NULL);
    for (uint32_t r = 0; pool->ports && r < pool->options.reactor_count; r++) {
        reader_pool_poll(pool, r);
        pthread_mutex_destroy(&pool->ports[r].lock);
    }
    pthread_cond_destroy(&pool->shared_ready);
    pthread_cond_destroy(&pool->load_ready);
    pthread_mutex_destroy(&pool->lock);
    memory_free(pool->ports);
    memory_free(pool->threads);
    pool->magic = 0;
    memory_free(pool);
}

void reader_pool_attach(struct reader_pool *pool, uint32_t reactor, void (*wake)(void *owner), void *owner)
{
    parley_assert(pool->magic == POOL_MAGIC && reactor < pool->options.reactor_count);
    struct port *port = &pool->ports[reactor];
    pthread_mutex_lock(&port->lock);
    port->wake = wake;
    port->owner = owner;
    pthread_mutex_unlock(&port->lock);
}

int reader_pool_submit(struct reader_pool *pool, uint32_t reactor, enum reader_class class,
                       struct reader_job *job)
{
    parley_assert(pool->magic == POOL_MAGIC && reactor < pool->options.reactor_count &&
                  class < READER_CLASS_COUNT && job->run && job->done);
    int err = 0;
    pthread_mutex_lock(&pool->lock);
    if (pool->closing) {
        err = -PARLEY_ERR_CLOSING;
    } else if (pool->job_count[class] >= pool->options.job_count_max[class]) {
        err = -PARLEY_ERR_FULL;
    } else {
        job->class = class;
        job->reactor = reactor;
        pool->job_count[class]++;
        list_push(&pool->waiting[class], job);
        if (class == READER_LOAD)
            pthread_cond_signal(&pool->load_ready);
        if (class != READER_LOAD || pool->shared_idle)
            pthread_cond_signal(&pool->shared_ready);
    }
    pthread_mutex_unlock(&pool->lock);
    return err;
}

size_t reader_pool_poll(struct reader_pool *pool, uint32_t reactor)
{
    parley_assert(pool->magic == POOL_MAGIC && reactor < pool->options.reactor_count);
    struct port *port = &pool->ports[reactor];
    uint32_t count[READER_CLASS_COUNT] = {0};
    pthread_mutex_lock(&port->lock);
    struct reader_job *first = port->finished.head;
    list_clear(&port->finished);
    pthread_mutex_unlock(&port->lock);
    if (!first)
        return 0;
    for (struct reader_job *job = first; job; job = job->next)
        count[job->class]++;
    pthread_mutex_lock(&pool->lock);
    for (int c = 0; c < READER_CLASS_COUNT; c++)
        pool->job_count[c] -= count[c];
    pthread_mutex_unlock(&pool->lock);
    size_t total = 0;
    struct reader_job *next;
    for (struct reader_job *job = first; job; job = next, total++) {
        next = job->next; /* `done` may free the job */
        job->done(job->owner);
    }
    return total;
}

uint32_t reader_pool_job_count(struct reader_pool *pool, enum reader_class class)
{
    pthread_mutex_lock(&pool->lock);
    uint32_t count = pool->job_count[class];
    pthread_mutex_unlock(&pool->lock);
    return count;
}
