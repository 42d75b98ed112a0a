/* Objects that are not in memory: out of RocksDB's cache at once, or by the reader pool. */
#include "src/base/error.h"
#include "src/base/memory.h"
#include "src/shard/rows.h"
#include "src/shard/shard_internal.h"

/* One load that a pool thread does. */
struct load {
    struct reader_job job;
    struct shard *shard;
    struct machine_key key;
    uint64_t dedup_first_id; /* 0: the object itself */
    int err;
    void *any;
    struct object_given *given;
};

/* Requests wait at the conversation, also for its pages, or at the user. */
static struct object *anchor_of(struct shard *s, const struct machine_key *key)
{
    struct machine_key anchor = {.kind = key->kind == OBJECT_PAGE ? OBJECT_CONVERSATION : key->kind,
                                 .id = key->id};
    return objects_find(&s->objects, &anchor);
}

static int give(struct shard *s, struct object *node, void *any)
{
    s->loads++;
    if (any)
        objects_give(&s->objects, node, any);
    return any ? 0 : objects_make(&s->objects, node);
}

static void run_load(void *owner)
{
    struct load *load = owner;
    struct shard *s = load->shard;
    if (load->dedup_first_id)
        load->err = rows_load_dedup(s->store, &load->key.id, load->dedup_first_id, STORE_ALL,
                                    &load->given->bytes, (size_t *)&load->given->row.row.len);
    else
        load->err = rows_load(s->store, &load->key, STORE_ALL, &s->options.dedup, &load->any);
}

static void add_given(struct object *conversation, struct object_given *given)
{
    given->row.row.data = given->bytes;
    given->next = conversation->given;
    conversation->given = given;
}

void shard_forget_given(struct object *conversation)
{
    while (conversation->given) {
        struct object_given *given = conversation->given;
        conversation->given = given->next;
        memory_free(given->bytes);
        memory_free(given);
    }
}

static void load_done(void *owner)
{
    struct load *load = owner;
    struct shard *s = load->shard;
    struct object *node = objects_find(&s->objects, &load->key);
    s->job_count--;
    parley_assert(node && node->loading);
    node->loading = false;
    if (load->err)
        node->load_error = load->err;
    else if (load->given)
        add_given(node, load->given);
    else
        node->load_error = give(s, node, load->any);
    if (load->err && load->given)
        memory_free(load->given);
    struct object *anchor = anchor_of(s, &load->key);
    memory_free(load);
    if (anchor)
        shard_pump(s, anchor);
}

static int submit(struct shard *s, struct object *node, struct load *load, enum reader_class class)
{
    load->job.run = run_load;
    load->job.done = load_done;
    load->job.owner = load;
    load->shard = s;
    load->key = node->key;
    int err = reader_pool_submit(s->options.pool, s->options.reactor, class, &load->job);
    if (err)
        return err;
    node->loading = true;
    s->job_count++;
    s->loads_from_disk++;
    return -PARLEY_ERR_AGAIN;
}

static int start(struct shard *s, struct object *node, enum reader_class class)
{
    void *any;
    int err = rows_load(s->store, &node->key, STORE_CACHE, &s->options.dedup, &any);
    if (!err)
        return give(s, node, any);
    if (err != -PARLEY_ERR_AGAIN)
        return err;
    struct load *load = memory_zalloc(sizeof *load);
    err = load ? submit(s, node, load, class) : -PARLEY_ERR_NOMEM;
    if (err != -PARLEY_ERR_AGAIN)
        memory_free(load);
    return err;
}

int shard_need_node(struct shard *s, struct object *node, enum reader_class class)
{
    int err = node->load_error;
    objects_used(&s->objects, node);
    node->load_error = 0; /* told once: the next one tries again */
    if (err || node->is.any)
        return err;
    return node->loading ? -PARLEY_ERR_AGAIN : start(s, node, class);
}

int shard_need(struct shard *s, const struct machine_key *key, enum reader_class class, struct object **out)
{
    int err = objects_node(&s->objects, key, out);
    return err ? err : shard_need_node(s, *out, class);
}

int shard_need_now(struct shard *s, const struct machine_key *key, struct object **out)
{
    const struct object *node = objects_find(&s->objects, key);
    s->loads += !node || !node->is.any;
    return rows_need(s->store, &s->objects, key, out);
}

int shard_need_dedup_row(struct shard *s, struct object *conversation, uint64_t first_id,
                         enum reader_class class)
{
    if (conversation->loading)
        return -PARLEY_ERR_AGAIN;
    struct object_given *given = memory_zalloc(sizeof *given);
    if (!given)
        return -PARLEY_ERR_NOMEM;
    given->row.first_id = first_id;
    int err = rows_load_dedup(s->store, &conversation->key.id, first_id, STORE_CACHE, &given->bytes,
                              (size_t *)&given->row.row.len);
    if (!err) {
        add_given(conversation, given);
        return 0;
    }
    struct load *load = err == -PARLEY_ERR_AGAIN ? memory_zalloc(sizeof *load) : NULL;
    if (load) {
        load->dedup_first_id = first_id;
        load->given = given;
        err = submit(s, conversation, load, class);
    } else if (err == -PARLEY_ERR_AGAIN) {
        err = -PARLEY_ERR_NOMEM;
    }
    if (err != -PARLEY_ERR_AGAIN) {
        memory_free(load);
        memory_free(given);
    }
    return err;
}

void shard_drop_if_nothing(struct shard *s, struct object *node)
{
    if (object_is_nothing(node) && !node->loading && !node->queue && !node->dirty_from && !node->flying)
        objects_remove(&s->objects, node);
}
