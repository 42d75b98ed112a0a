/* The order of things: what is opened, what is looked at after what, and again after a repair. */
#include "src/verify/verify.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "src/base/error.h"
#include "src/base/memory.h"
#include "src/verify/verify_internal.h"

enum { ROUNDS_MAX = 4, CACHE_BYTES = 64 << 20 };

/* ---- what all files use */

struct verify_where verify_at(const struct verify_shard *s, const char *family, uint32_t month,
                              const struct id16 *id, uint64_t number)
{
    struct verify_where w;
    char name[2 * sizeof *id + 3] = "", of_month[24] = "", last[24] = "";
    if (id)
        snprintf(name, 3, ", ");
    for (size_t i = 0; id && i < sizeof *id; i++)
        snprintf(name + 2 + 2 * i, 3, "%02x", id->bytes[i]);
    if (month)
        snprintf(of_month, sizeof of_month, "-%04u-%02u", month / 12, month % 12 + 1);
    if (number)
        snprintf(last, sizeof last, ", %llu", (unsigned long long)number);
    snprintf(w.text, sizeof w.text, "shard-%04u/store: %s%s%s%s", s->number, family, of_month, name, last);
    return w;
}

void verify_find(struct verify_shard *s, enum verify_kind kind, const char *where, const char *format, ...)
{
    char what[VERIFY_TEXT_BYTES];
    va_list args;
    if (s->verify->mending) /* it was told when it was looked at */
        return;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    verify_report_find(s->verify->report, &(struct verify_finding){kind, s->number, where, what});
}

static struct id16 hash128(void *owner, const void *data, size_t len)
{
    struct verify *v = owner;
    return hash_128(&v->folder.key, data, len);
}

struct hasher verify_hasher(struct verify *v)
{
    return (struct hasher){v, hash128};
}

struct verify_shard *verify_owner(struct verify *v, const struct id16 *id)
{
    return &v->shards[hash_shard(&v->folder.key, id, v->folder.shard_count)];
}

void verify_note(struct verify_shard *s, uint64_t position, uint64_t id)
{
    s->row_position = position > s->row_position ? position : s->row_position;
    s->row_id = id > s->row_id ? id : s->row_id;
}

bool verify_failed(struct verify *v, int err)
{
    if (err == 0 || err == -PARLEY_ERR_CORRUPT || err == -PARLEY_ERR_LOST || err == -PARLEY_ERR_NOT_FOUND)
        return v->error != 0;
    if (!v->error)
        v->error = err;
    return true;
}

/* ---- opening */

static void on_store_damage(void *owner, const char *text)
{
    struct verify_shard *s = owner;
    char where[VERIFY_WHERE_BYTES];
    snprintf(where, sizeof where, "shard-%04u/store", s->number);
    verify_find(s, VERIFY_KIND_STORE_READ, where, "%s", text);
}

static void on_store_done(void *owner)
{
    (void)owner; /* who writes polls */
}

static void on_store_fatal(void *owner, const char *what)
{
    struct verify_shard *s = owner;
    (void)what;
    s->store_failed = true;
}

int verify_store_open(struct verify_shard *s, bool read_only, char *text, size_t text_len)
{
    struct store_options options = {.dir = s->store_dir,
                                    .cache_bytes = CACHE_BYTES / s->verify->folder.shard_count,
                                    .read_only = read_only,
                                    .owner = s,
                                    .wake = on_store_done,
                                    .on_damage = on_store_damage,
                                    .on_fatal = on_store_fatal};
    return store_open(&options, &s->store, text, text_len);
}

static void look_at_store(struct verify_shard *s)
{
    char text[VERIFY_TEXT_BYTES], where[VERIFY_WHERE_BYTES];
    snprintf(where, sizeof where, "shard-%04u/store", s->number);
    int err = verify_store_open(s, true, text, sizeof text);
    s->has_store = !err;
    if (err == -PARLEY_ERR_NOT_FOUND) {
        s->store_is_bad = s->log_report.end > 1;
        if (s->store_is_bad && s->log_report.start == 1)
            verify_find(s, VERIFY_KIND_STORE_MISSING, where, "%s", text);
        return;
    }
    if (err == -PARLEY_ERR_NOMEM) {
        s->verify->error = err;
    } else if (err) {
        s->store_is_bad = true;
        verify_find(s, VERIFY_KIND_STORE_OPEN, where, "%s", text);
    } else if (s->verify->options.deep) {
        (void)verify_failed(s->verify, store_read_all(s->store));
    }
}

static bool is_there(const struct verify *v, uint32_t number)
{
    char path[VERIFY_PATH_BYTES];
    snprintf(path, sizeof path, "%s/shard-%04u", v->options.dir, number);
    return access(path, F_OK) == 0;
}

static int begin_shards(struct verify *v)
{
    uint32_t count = v->folder.shard_count;
    v->shards = memory_zalloc(count * sizeof *v->shards);
    if (!v->shards)
        return -PARLEY_ERR_NOMEM;
    for (uint32_t i = 0; i < count; i++) {
        struct verify_shard *s = &v->shards[i];
        struct dedup_options all = {UINT64_MAX,
                                    DEDUP_ENTRIES_LIMIT}; /* what expires is the server's to say */
        s->verify = v;
        s->number = i;
        snprintf(s->log_dir, sizeof s->log_dir, "%.4000s/shard-%04u/log", v->options.dir, i);
        snprintf(s->store_dir, sizeof s->store_dir, "%.4000s/shard-%04u/store", v->options.dir, i);
        objects_init(&s->now, &all);
        s->offsets = memory_zalloc(count * sizeof *s->offsets);
        s->bounds = memory_zalloc(count * sizeof *s->bounds);
        if (!s->offsets || !s->bounds)
            return -PARLEY_ERR_NOMEM;
    }
    return 0;
}

static void end_shards(struct verify *v)
{
    for (uint32_t i = 0; v->shards && i < v->folder.shard_count; i++) {
        struct verify_shard *s = &v->shards[i];
        if (!s->verify)
            break;
        store_batch_destroy(&s->batch);
        store_close(&s->store);
        log_close(&s->log);
        objects_clear(&s->now);
        large_set_clear(&s->large);
        memory_free(s->turned);
        memory_free(s->offsets);
        memory_free(s->bounds);
    }
    memory_free(v->shards);
    v->shards = NULL;
}

/* ---- looking */

static void each(struct verify *v, void (*look)(struct verify_shard *s), bool with_store)
{
    for (uint32_t i = 0; i < v->folder.shard_count && !v->error; i++)
        if (v->shards[i].store || !with_store)
            look(&v->shards[i]);
}

static void look(struct verify *v)
{
    memset(v->report->counts, 0, sizeof v->report->counts);
    v->error = begin_shards(v);
    each(v, verify_log_open, false);
    each(v, look_at_store, false);
    bool any = false;
    for (uint32_t i = 0; i < v->folder.shard_count && !v->error; i++)
        any = any || v->shards[i].store;
    for (uint32_t i = 0; any && i < v->folder.shard_count; i++)
        if (!is_there(v, i))
            verify_find(&v->shards[i], VERIFY_KIND_SHARD_MISSING, v->options.dir, "shard-%04u is missing", i);
    each(v, verify_meta, false);
    if (!v->error)
        verify_log_ends(v);
    each(v, verify_log_events, false);
    each(v, verify_large_load, true);
    each(v, verify_conversations, true);
    each(v, verify_memberships, true);
    each(v, verify_large, true);
    each(v, verify_orphans, true);
    each(v, verify_users, true);
    each(v, verify_positions, true);
}

static int summarize(const struct verify *v, struct verify_summary *summary)
{
    summary->shard_count = v->folder.shard_count;
    if (!summary->shards)
        summary->shards = memory_zalloc(summary->shard_count * sizeof *summary->shards);
    for (uint32_t i = 0; summary->shards && i < summary->shard_count; i++)
        summary->shards[i] = v->shards[i].counts;
    return summary->shards ? 0 : -PARLEY_ERR_NOMEM;
}

void verify_summary_clear(struct verify_summary *summary)
{
    memory_free(summary->shards);
    *summary = (struct verify_summary){0};
}

static int look_and_mend(struct verify *v, struct verify_summary *summary)
{
    for (int round = 1;; round++) {
        look(v);
        if (!v->error)
            v->error = summarize(v, summary);
        bool again = !v->error && v->options.repair && round < ROUNDS_MAX && verify_can_mend(v);
        if (again)
            verify_mend(v);
        end_shards(v);
        if (!again || v->error)
            break;
    }
    if (v->error && !v->text[0])
        snprintf(v->text, VERIFY_TEXT_BYTES, "it could not be looked at to the end: %s",
                 parley_err_text(v->error));
    return v->error;
}

int verify_folder(const struct verify_options *options, struct verify_report *report,
                  struct verify_summary *summary, char text[VERIFY_TEXT_BYTES])
{
    struct verify v = {.options = *options, .report = report, .text = text};
    *summary = (struct verify_summary){0};
    text[0] = '\0';
    int err = data_folder_look(options->dir, options->repair, &v.folder, text);
    if (err == -PARLEY_ERR_CORRUPT) {
        verify_report_find(report,
                           &(struct verify_finding){VERIFY_KIND_FOLDER, VERIFY_NO_SHARD, "identity", text});
        return 0;
    }
    if (err)
        return err;
    err = file_layer_uring_create(NULL, &v.files);
    if (err)
        snprintf(text, VERIFY_TEXT_BYTES, "no io_uring: %s", parley_err_text(err));
    else
        err = look_and_mend(&v, summary);
    if (v.files)
        file_layer_uring_destroy(&v.files);
    data_folder_close(&v.folder);
    return err;
}
