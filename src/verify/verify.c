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
    char what[VERIFY_TEXT_BYTES], remedy[VERIFY_TEXT_BYTES];
    va_list args;
    if (s->verify->mending) /* it was told when it was looked at */
        return;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    if (verify_kind_severity(kind) == VERIFY_DAMAGE)
        s->damaged = s->verify->was_damaged[s->number] = true;
    verify_report_find(s->verify->report, &(struct verify_finding){kind, s->number, where, what,
                                                                   verify_remedy_text(s, kind, remedy)});
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
    if (position > s->row_position && position < VERIFY_POSITION_MAX)
        s->row_position = position;
    if (id > s->row_id && snowflake_shard(id) == s->number)
        s->row_id = id;
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

/* Damage of the store as a whole, against what else keeps it from being opened: rights, descriptors, a dying disk. */
static bool is_damage(int err, const char *text)
{
    return err == -PARLEY_ERR_CORRUPT || (err == -PARLEY_ERR_IO && strstr(text, "No such file"));
}

static void open_shard(struct verify_shard *s)
{
    verify_log_open(s);
    int err = verify_store_open(s, true, s->store_text, sizeof s->store_text);
    if (err == -PARLEY_ERR_NOMEM)
        s->verify->error = err;
    s->has_store = !err;
    s->store_is_missing = err == -PARLEY_ERR_NOT_FOUND;
    if (s->store_is_missing)
        s->store_is_gone = s->log_report.end > 1 || s->log_report.seen_end > 1;
    else
        s->store_is_gone = err && is_damage(err, s->store_text);
}

/* When it is known what there is of both: it decides what can be done. */
static void tell_opened(struct verify_shard *s)
{
    char where[VERIFY_WHERE_BYTES];
    snprintf(where, sizeof where, "shard-%04u/store", s->number);
    verify_log_tell(s);
    if (s->store_is_missing && s->store_is_gone)
        verify_find(s, verify_log_has_all(s) ? VERIFY_KIND_STORE_MISSING : VERIFY_KIND_STORE_LOST, where,
                    "%s, but its log had events up to position %llu", s->store_text,
                    (unsigned long long)s->log_report.seen_end - 1);
    else if (!s->has_store && !s->store_is_missing)
        verify_find(s, VERIFY_KIND_STORE_OPEN, where, "%s", s->store_text);
}

static bool is_there(const struct verify *v, uint32_t number)
{
    char path[VERIFY_PATH_BYTES];
    snprintf(path, sizeof path, "%s/shard-%04u", v->options.dir, number);
    return access(path, F_OK) == 0;
}

static void tell_missing(struct verify *v)
{
    bool complete = v->folder.complete;
    for (uint32_t i = 0; i < v->folder.shard_count; i++)
        complete = complete || v->shards[i].store;
    for (uint32_t i = 0; complete && i < v->folder.shard_count; i++)
        if (!is_there(v, i))
            verify_find(&v->shards[i], VERIFY_KIND_SHARD_MISSING, v->options.dir,
                        "the folder shard-%04u is missing", i);
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
        verify_receipts_clear(&s->receipts);
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

static void read_tables(struct verify_shard *s)
{
    if (s->verify->options.deep)
        (void)verify_failed(s->verify, store_read_all(s->store));
}

static void look(struct verify *v)
{
    memset(v->report->counts, 0, sizeof v->report->counts);
    v->error = begin_shards(v);
    each(v, open_shard, false);
    each(v, verify_meta, false);
    each(v, verify_log_scout, false);
    each(v, tell_opened, false);
    if (!v->error)
        tell_missing(v);
    if (!v->error)
        verify_log_ends(v);
    each(v, verify_log_events, false);
    each(v, read_tables, true);
    each(v, verify_large_load, true);
    each(v, verify_conversations, true);
    each(v, verify_orphans, true);
    each(v, verify_users, true);
    each(v, verify_memberships, true); /* when it is known which shards can be believed */
    each(v, verify_large, true);
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

static void tell_losses(struct verify *v)
{
    for (uint32_t i = 0; i < v->folder.shard_count; i++)
        if (verify_can_begin_again(&v->shards[i]))
            verify_tell_losses(&v->shards[i], false);
}

static int look_and_mend(struct verify *v, struct verify_summary *summary)
{
    bool mended = true;
    v->was_damaged = memory_zalloc(v->folder.shard_count * sizeof *v->was_damaged);
    if (!v->was_damaged)
        return -PARLEY_ERR_NOMEM;
    for (int round = 1; mended && !v->error; round++) {
        if (round > 1 && v->report->on_again)
            v->report->on_again(v->report->owner);
        look(v);
        if (!v->error)
            v->error = summarize(v, summary);
        bool may = !v->error && v->options.repair && round < ROUNDS_MAX;
        mended = may && verify_mend(v);
        if (!v->error && !mended)
            tell_losses(v);
        end_shards(v);
    }
    memory_free(v->was_damaged);
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
        verify_report_find(
            report, &(struct verify_finding){VERIFY_KIND_FOLDER, VERIFY_NO_SHARD, "identity", text,
                                             "restore the file of this very folder from a copy; no other "
                                             "fits, and --repair cannot make it"});
        return 0;
    }
    if (err)
        return err;
    struct file_layer *own = NULL;
    err = options->files ? 0 : file_layer_uring_create(NULL, &own);
    v.files = options->files ? options->files : own;
    if (err)
        snprintf(text, VERIFY_TEXT_BYTES, "no io_uring: %s", parley_err_text(err));
    else
        err = look_and_mend(&v, summary);
    if (own)
        file_layer_uring_destroy(&own);
    data_folder_close(&v.folder);
    return err;
}
