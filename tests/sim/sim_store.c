#include "tests/sim/sim_store.h"

#include <stdlib.h>
#include <string.h>

#include "src/base/error.h"
#include "src/base/memory.h"
#include "storage/reader_pool.h"
#include "storage/store_batch.h"
#include "storage/store_internal.h"

enum { DIRS_MAX = 16, DIR_BYTES = 64, MONTHS_MAX = 64 };

struct row {
    enum store_family family;
    uint32_t month;
    uint8_t *key, *value;
    size_t key_len, len;
    bool rotten; /* its block's checksum fails */
};

struct table {
    struct row *rows; /* sorted */
    size_t count, max;
};

struct folder {
    char dir[DIR_BYTES];
    struct table now, flushed;
};

struct sim {
    uint64_t magic; /* where the real store has it */
    struct store_options options;
    struct folder *folder;
    struct store_batch *waiting, **waiting_tail;
    bool dead;
};

static struct folder folders[DIRS_MAX];
static struct table kept[DIRS_MAX]; /* put aside, by folder */
static struct sim *opened[DIRS_MAX];
static struct sim_store_odds odds = {1000, 100, 0, 1000};
static enum store_pressure pressure_now;
static uint32_t expected_month;
static uint64_t seed_now = 1;
static uint32_t full_odds, late_odds;

static bool happens(uint32_t per_thousand)
{
    seed_now = seed_now * 6364136223846793005u + 1442695040888963407u;
    return (seed_now >> 33) % 1000 < per_thousand;
}

void sim_store_set(const struct sim_store_odds *new_odds, uint64_t seed)
{
    odds = *new_odds;
    seed_now = seed;
}

void sim_store_set_full(uint32_t per_thousand)
{
    full_odds = per_thousand;
}

void sim_store_set_late(uint32_t per_thousand)
{
    late_odds = per_thousand;
}

void sim_store_set_pressure(enum store_pressure pressure)
{
    pressure_now = pressure;
}

/* -- tables */

static int compare(const struct row *row, const struct store_key *at)
{
    if (row->family != at->family)
        return row->family < at->family ? -1 : 1;
    if (row->month != at->month)
        return row->month < at->month ? -1 : 1;
    size_t len = row->key_len < at->key.len ? row->key_len : at->key.len;
    int order = len ? memcmp(row->key, at->key.data, len) : 0;
    return order ? order : row->key_len < at->key.len ? -1 : row->key_len > at->key.len;
}

/* The first row that is not before the key. */
static size_t place(const struct table *t, const struct store_key *at)
{
    size_t low = 0, high = t->count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (compare(&t->rows[mid], at) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static void row_free(struct row *row)
{
    free(row->key);
    free(row->value);
}

static void table_clear(struct table *t)
{
    for (size_t i = 0; i < t->count; i++)
        row_free(&t->rows[i]);
    free(t->rows);
    *t = (struct table){0};
}

static uint8_t *copy(const void *data, size_t len)
{
    uint8_t *out = malloc(len + 1);
    parley_assert(out);
    if (len)
        memcpy(out, data, len);
    return out;
}

static void table_copy(struct table *to, const struct table *from)
{
    table_clear(to);
    to->rows = malloc((from->count + 1) * sizeof *to->rows);
    parley_assert(to->rows);
    to->count = to->max = from->count;
    for (size_t i = 0; i < from->count; i++) {
        to->rows[i] = from->rows[i];
        to->rows[i].key = copy(from->rows[i].key, from->rows[i].key_len);
        to->rows[i].value = copy(from->rows[i].value, from->rows[i].len);
    }
}

static struct row *table_row(struct table *t, const struct store_key *at)
{
    size_t i = place(t, at);
    if (i < t->count && compare(&t->rows[i], at) == 0)
        return &t->rows[i];
    if (t->count == t->max) {
        t->max = t->max ? 2 * t->max : 64;
        t->rows = realloc(t->rows, t->max * sizeof *t->rows);
        parley_assert(t->rows);
    }
    memmove(&t->rows[i + 1], &t->rows[i], (t->count - i) * sizeof *t->rows);
    t->count++;
    t->rows[i] = (struct row){
        at->family, at->month, copy(at->key.data, at->key.len), copy("", 0), at->key.len, 0, false};
    return &t->rows[i];
}

static void table_delete(struct table *t, const struct store_key *at)
{
    size_t i = place(t, at);
    if (i == t->count || compare(&t->rows[i], at) != 0)
        return;
    row_free(&t->rows[i]);
    memmove(&t->rows[i], &t->rows[i + 1], (t->count - i - 1) * sizeof *t->rows);
    t->count--;
}

static void table_apply(struct table *t, const struct store_batch *batch)
{
    struct bytes_reader ops = store_batch_ops(batch);
    struct store_batch_op op;
    while (store_batch_next(&ops, &op)) {
        if (op.kind == STORE_BATCH_DELETE) {
            table_delete(t, &op.at);
            continue;
        }
        struct row *row = table_row(t, &op.at);
        size_t base = op.kind == STORE_BATCH_APPEND ? row->len : 0;
        row->rotten = row->rotten && op.kind == STORE_BATCH_APPEND;
        row->value = realloc(row->value, base + op.value.len + 1);
        parley_assert(row->value);
        if (op.value.len)
            memcpy(row->value + base, op.value.data, op.value.len);
        row->len = base + op.value.len;
    }
}

/* -- the store */

static struct sim *sim_of(const struct store *store)
{
    return (struct sim *)store;
}

int store_open(const struct store_options *options, struct store **out, char *text, size_t text_len)
{
    (void)text, (void)text_len;
    for (int i = 0; i < DIRS_MAX; i++) {
        struct folder *f = &folders[i];
        if (f->dir[0] && strcmp(f->dir, options->dir) != 0)
            continue;
        struct sim *s = calloc(1, sizeof *s);
        parley_assert(s && !opened[i] && strlen(options->dir) < DIR_BYTES);
        strcpy(f->dir, options->dir);
        s->magic = STORE_MAGIC;
        s->options = *options;
        s->folder = f;
        s->waiting_tail = &s->waiting;
        opened[i] = s;
        *out = (struct store *)s;
        return 0;
    }
    return -PARLEY_ERR_NOMEM;
}

static void write_next(struct sim *s)
{
    struct store_batch *batch = s->waiting;
    s->waiting = batch->next;
    if (!s->waiting)
        s->waiting_tail = &s->waiting;
    table_apply(&s->folder->now, batch);
    if (happens(odds.flush))
        table_copy(&s->folder->flushed, &s->folder->now);
    if (batch->done)
        batch->done(batch->owner);
    store_batch_destroy(&batch);
}

void store_poll(struct store *store)
{
    struct sim *s = sim_of(store);
    while (!s->dead && s->waiting && happens(odds.write))
        write_next(s);
}

void store_close(struct store **store)
{
    struct sim *s = sim_of(*store);
    *store = NULL;
    while (s->waiting && !s->dead)
        write_next(s);
    while (s->waiting) {
        struct store_batch *batch = s->waiting;
        s->waiting = batch->next;
        store_batch_destroy(&batch);
    }
    if (!s->dead)
        table_copy(&s->folder->flushed, &s->folder->now);
    opened[s->folder - folders] = NULL;
    free(s);
}

void sim_store_crash(void)
{
    for (int i = 0; i < DIRS_MAX; i++) {
        if (opened[i])
            opened[i]->dead = true;
        if (folders[i].dir[0])
            table_copy(&folders[i].now, &folders[i].flushed);
    }
}

void sim_store_forget(void)
{
    for (int i = 0; i < DIRS_MAX; i++) {
        parley_assert(!opened[i]);
        table_clear(&folders[i].now);
        table_clear(&folders[i].flushed);
        table_clear(&kept[i]);
        folders[i].dir[0] = 0;
    }
}

int store_submit(struct store *store, struct store_batch **batch, store_done_fn *done, void *owner)
{
    struct sim *s = sim_of(store);
    if ((*batch)->failed)
        return -PARLEY_ERR_NOMEM;
    if (s->dead)
        return -PARLEY_ERR_IO;
    if (full_odds && happens(full_odds))
        return -PARLEY_ERR_FULL;
    (*batch)->done = done;
    (*batch)->owner = owner;
    (*batch)->next = NULL;
    *s->waiting_tail = *batch;
    s->waiting_tail = &(*batch)->next;
    *batch = NULL;
    return 0;
}

static const struct table *table_of(const struct sim *s, enum store_tier tier)
{
    return tier == STORE_PERSISTED ? &s->folder->flushed : &s->folder->now;
}

int store_get(struct store *store, struct store_key at, enum store_tier tier, uint8_t **value, size_t *len)
{
    const struct table *t = table_of(sim_of(store), tier);
    if (tier == STORE_CACHE && happens(odds.cold))
        return -PARLEY_ERR_AGAIN;
    size_t i = place(t, &at);
    if (i == t->count || compare(&t->rows[i], &at) != 0)
        return -PARLEY_ERR_NOT_FOUND;
    if (t->rows[i].rotten)
        return -PARLEY_ERR_CORRUPT;
    *value = memory_alloc(t->rows[i].len);
    if (!*value)
        return -PARLEY_ERR_NOMEM;
    memcpy(*value, t->rows[i].value, t->rows[i].len);
    *len = t->rows[i].len;
    return 0;
}

static bool inside(const struct row *row, const struct store_key *from, size_t prefix_len)
{
    return row->family == from->family && row->month == from->month && row->key_len >= prefix_len &&
           (prefix_len == 0 || memcmp(row->key, from->key.data, prefix_len) == 0);
}

static int scan(struct store *store, struct store_key from, size_t prefix_len, bool back, store_row_fn *fn,
                void *owner)
{
    const struct table *t = table_of(sim_of(store), STORE_ALL);
    size_t i = place(t, &from);
    if (back && (i == t->count || compare(&t->rows[i], &from) != 0))
        i--; /* wraps below the first: then the loop ends at once */
    for (; i < t->count && inside(&t->rows[i], &from, prefix_len); i += back ? SIZE_MAX : 1) {
        if (t->rows[i].rotten)
            return -PARLEY_ERR_CORRUPT;
        int answer = fn(owner, (struct span){t->rows[i].key, t->rows[i].key_len},
                        (struct span){t->rows[i].value, t->rows[i].len});
        if (answer)
            return answer < 0 ? answer : 0;
    }
    return 0;
}

int store_scan(struct store *store, struct store_key from, size_t prefix_len, store_row_fn *fn, void *owner)
{
    return scan(store, from, prefix_len, false, fn, owner);
}

int store_scan_back(struct store *store, struct store_key from, size_t prefix_len, store_row_fn *fn,
                    void *owner)
{
    return scan(store, from, prefix_len, true, fn, owner);
}

void store_expect_month(struct store *store, uint32_t month)
{
    (void)store;
    expected_month = month;
}

uint32_t sim_store_expected_month(void)
{
    return expected_month;
}

size_t store_months(struct store *store, uint32_t *months, size_t max)
{
    const struct table *t = &sim_of(store)->folder->now;
    size_t count = 0;
    for (size_t i = t->count; i-- > 0;)
        if (t->rows[i].family == STORE_MESSAGES && (count == 0 || months[count - 1] != t->rows[i].month) &&
            count < max)
            months[count++] = t->rows[i].month;
    return count;
}

int store_flush(struct store *store)
{
    struct sim *s = sim_of(store);
    if (s->dead)
        return -PARLEY_ERR_IO;
    table_copy(&s->folder->flushed, &s->folder->now);
    return 0;
}

enum store_pressure store_pressure(const struct store *store)
{
    return sim_of(store)->dead ? STORE_DISK_FULL : pressure_now;
}

static uint64_t mix(uint64_t h, const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        h = (h ^ data[i]) * 1099511628211u;
    return h;
}

static uint64_t mix_filter(uint64_t h, const struct row *row)
{
    struct bytes_reader r = bytes_reader_of(row->value, row->len);
    while (!bytes_reader_done(&r) && !r.failed) {
        uint64_t first_id = bytes_get_u64(&r), ordinal = bytes_get_u64(&r);
        for (uint32_t count = bytes_get_u16(&r); count > 0 && !r.failed; count--, ordinal++) {
            uint64_t entry[3] = {first_id, ordinal, bytes_get_u32(&r)};
            h = mix(h, (const uint8_t *)entry, sizeof entry);
        }
    }
    return h;
}

static struct folder *folder_of(const char *dir)
{
    for (int i = 0; i < DIRS_MAX; i++)
        if (strcmp(folders[i].dir, dir) == 0)
            return &folders[i];
    return NULL;
}

static uint64_t digest_of(const struct table *t)
{
    uint64_t h = 14695981039346656037u;
    for (size_t i = 0; i < t->count; i++) {
        const struct row *row = &t->rows[i];
        if (row->family == STORE_META)
            continue;
        h = mix(h, row->key, row->key_len);
        h = row->family == STORE_FILTERS ? mix_filter(h, row) : mix(h, row->value, row->len);
    }
    return h;
}

uint64_t sim_store_digest(const char *dir)
{
    return digest_of(&folder_of(dir)->flushed);
}

uint64_t sim_store_digest_now(const char *dir)
{
    return digest_of(&folder_of(dir)->now);
}

void sim_store_keep(void)
{
    for (int i = 0; i < DIRS_MAX; i++) {
        parley_assert(!opened[i]);
        table_copy(&kept[i], &folders[i].flushed);
    }
}

void sim_store_bring_back(void)
{
    for (int i = 0; i < DIRS_MAX; i++) {
        parley_assert(!opened[i]);
        table_copy(&folders[i].flushed, &kept[i]);
        table_copy(&folders[i].now, &kept[i]);
    }
}

static bool begins_so(const struct row *row, enum store_family family, struct span prefix)
{
    return row->family == family && row->key_len >= prefix.len &&
           (prefix.len == 0 || memcmp(row->key, prefix.data, prefix.len) == 0);
}

size_t sim_store_damage(const char *dir, enum store_family family, struct span key_prefix, int at)
{
    struct folder *f = folder_of(dir);
    struct table *both[] = {&f->now, &f->flushed};
    size_t count = 0;
    for (size_t t = 0; t < 2; t++) {
        for (size_t i = 0; i < both[t]->count; i++) {
            struct row *row = &both[t]->rows[i];
            size_t byte = at < 0 ? row->len - (size_t)-at : (size_t)at;
            if (!begins_so(row, family, key_prefix) || byte >= row->len)
                continue;
            row->value[byte] ^= 0x5a;
            count += t == 0;
        }
    }
    return count;
}

size_t sim_store_remove(const char *dir, enum store_family family, struct span key_prefix)
{
    struct folder *f = folder_of(dir);
    struct table *both[] = {&f->now, &f->flushed};
    size_t count = 0;
    for (size_t t = 0; t < 2; t++) {
        for (size_t i = both[t]->count; i-- > 0;) {
            const struct row *row = &both[t]->rows[i];
            if (!begins_so(row, family, key_prefix))
                continue;
            struct store_key where = {row->family, row->month, {row->key, row->key_len}};
            table_delete(both[t], &where);
            count += t == 0;
        }
    }
    return count;
}

bool sim_store_rot(const char *dir, uint64_t choice)
{
    struct folder *f = folder_of(dir);
    if (!f || !f->flushed.count)
        return false;
    struct row *row = &f->flushed.rows[choice % f->flushed.count];
    struct store_key at = {row->family, row->month, {row->key, row->key_len}};
    size_t i = place(&f->now, &at);
    row->rotten = true;
    if (i < f->now.count && compare(&f->now.rows[i], &at) == 0)
        f->now.rows[i].rotten = true;
    return true;
}

/* -- the reader pool */

struct jobs {
    struct reader_job *first, **last;
    uint32_t count;
};

struct reader_pool {
    struct jobs waiting, ran;
};

int reader_pool_create(const struct reader_pool_options *options, struct reader_pool **out)
{
    (void)options;
    *out = calloc(1, sizeof **out);
    parley_assert(*out);
    (*out)->waiting.last = &(*out)->waiting.first;
    (*out)->ran.last = &(*out)->ran.first;
    return 0;
}

void reader_pool_destroy(struct reader_pool **pool)
{
    parley_assert(!(*pool)->waiting.first && !(*pool)->ran.first);
    free(*pool);
    *pool = NULL;
}

static void push(struct jobs *jobs, struct reader_job *job)
{
    job->next = NULL;
    *jobs->last = job;
    jobs->last = &job->next;
    jobs->count++;
}

static struct reader_job *pop(struct jobs *jobs)
{
    struct reader_job *job = jobs->first;
    jobs->first = job->next;
    if (!jobs->first)
        jobs->last = &jobs->first;
    jobs->count--;
    return job;
}

int reader_pool_submit(struct reader_pool *pool, uint32_t reactor, enum reader_class class,
                       struct reader_job *job)
{
    (void)reactor, (void)class;
    if (full_odds && happens(full_odds))
        return -PARLEY_ERR_FULL;
    push(&pool->waiting, job);
    return 0;
}

/* Each job once: those that stay go to the end, so order is lost too. */
size_t reader_pool_poll(struct reader_pool *pool, uint32_t reactor)
{
    (void)reactor;
    size_t done = 0;
    uint32_t ran = pool->ran.count, waiting = pool->waiting.count;
    for (; ran > 0; ran--) {
        struct reader_job *job = pop(&pool->ran);
        if (happens(late_odds)) {
            push(&pool->ran, job);
            continue;
        }
        job->done(job->owner);
        done++;
    }
    for (; waiting > 0; waiting--) {
        struct reader_job *job = pop(&pool->waiting);
        if (!happens(odds.job)) {
            push(&pool->waiting, job);
            continue;
        }
        job->run(job->owner);
        if (late_odds && happens(late_odds)) {
            push(&pool->ran, job);
            continue;
        }
        job->done(job->owner);
        done++;
    }
    return done;
}
