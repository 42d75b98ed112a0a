/* The families and their handles, while months come and go beside readers.
 *
 * A RocksDB handle must not be destroyed while anybody uses it, and readers may not share a lock with the
 * reactor. So each month has a slot that is never freed, with a count like that of a weak pointer:
 *
 * 1. A reader enters only by raising `refs` from a number above 0; it then looks again whether the slot still
 *    holds its month (it may have been reused meanwhile), and leaves when not.
 * 2. The registry holds one reference while the month is live. Dropping unpublishes the month and gives it
 * back.
 * 3. Whoever takes `refs` to 0 destroys the handles, then clears `used`: only then may the slot be filled
 * anew.
 * 4. Slots are filled and months dropped under `exclusive` only; so the writer needs no reference.
 * 5. RocksDB keeps a dropped family's data until its last handle and iterator are gone: readers end in peace.
 */
#include "storage/store_internal.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "src/base/error.h"
#include "src/base/memory.h"

static const char *const family_names[STORE_FAMILY_COUNT] = {
    [STORE_META] = "meta",
    [STORE_CONVERSATIONS] = "conversations",
    [STORE_MEMBERS] = "members",
    [STORE_USERS] = "users",
    [STORE_MEMBERSHIPS] = "memberships",
    [STORE_FILTERS] = "filters",
    [STORE_MESSAGES] = "messages",
    [STORE_DEDUP] = "dedup",
};
static const char empty_name[] = "default";

enum { FAMILY_NAME_LEN = 48 };

static void month_name(char name[FAMILY_NAME_LEN], enum store_family family, uint32_t month)
{
    snprintf(name, FAMILY_NAME_LEN, "%s-%04u-%02u", family_names[family], month / 12, month % 12 + 1);
}

/* Which family a name is; false when it is none of ours. */
static bool name_parse(const char *name, enum store_family *family, uint32_t *month)
{
    *month = 0;
    for (int f = 0; f < STORE_FIXED_COUNT; f++)
        if (strcmp(name, family_names[f]) == 0) {
            *family = (enum store_family)f;
            return true;
        }
    for (int f = STORE_FIXED_COUNT; f < STORE_FAMILY_COUNT; f++) {
        size_t len = strlen(family_names[f]);
        unsigned year = 0, month_of_year = 0;
        char again[FAMILY_NAME_LEN];
        if (strncmp(name, family_names[f], len) != 0 ||
            sscanf(name + len, "-%6u-%2u", &year, &month_of_year) != 2 || month_of_year < 1 ||
            month_of_year > 12)
            continue;
        *family = (enum store_family)f;
        *month = year * 12 + month_of_year - 1;
        month_name(again, *family, *month);
        if (*month && strcmp(name, again) == 0)
            return true;
    }
    return false;
}

static char *name_copy(const char *name)
{
    size_t len = strlen(name) + 1;
    char *copy = memory_alloc(len);
    if (copy)
        memcpy(copy, name, len);
    return copy;
}

static struct store_month *slot_of(struct store_families *families, uint32_t month)
{
    uint32_t end = atomic_load_explicit(&families->months_end, memory_order_acquire);
    for (uint32_t i = 0; i < end; i++)
        if (atomic_load_explicit(&families->months[i].month, memory_order_acquire) == month)
            return &families->months[i];
    return NULL;
}

/* A slot to make `month` in: one begun earlier, one that is free again, or a new one. NULL when all are used.
 */
static struct store_month *slot_to_make(struct store_families *families, uint32_t month)
{
    uint32_t end = atomic_load(&families->months_end);
    struct store_month *found = NULL;
    for (uint32_t i = 0; i < end; i++) {
        struct store_month *slot = &families->months[i];
        if (slot->making == month)
            return slot;
        if (!found && !atomic_load_explicit(&slot->used, memory_order_acquire))
            found = slot;
    }
    if (!found && end < STORE_MONTHS_MAX) {
        found = &families->months[end];
        atomic_store_explicit(&families->months_end, end + 1, memory_order_release);
    }
    if (found) {
        found->making = month;
        atomic_store(&found->used, true);
    }
    return found;
}

static void slot_publish(struct store_month *slot)
{
    uint32_t month = slot->making;
    slot->making = 0;
    atomic_store_explicit(&slot->refs, 1, memory_order_release);
    atomic_store_explicit(&slot->month, month, memory_order_release);
}

int store_families_ensure(struct store *store, uint32_t month, char *text, size_t text_len)
{
    parley_assert(month != 0);
    if (slot_of(&store->families, month))
        return 0;
    struct store_month *slot = slot_to_make(&store->families, month);
    if (!slot) {
        snprintf(text, text_len, "more than %d months", STORE_MONTHS_MAX);
        return -PARLEY_ERR_LIMIT;
    }
    for (int i = 0; i < STORE_MONTHLY_COUNT; i++) {
        if (slot->family[i])
            continue; /* made at an earlier try, or found at open */
        int err = store_space_for_files(store, text, text_len);
        if (err)
            return err;
        char name[FAMILY_NAME_LEN], *error = NULL;
        month_name(name, (enum store_family)(STORE_FIXED_COUNT + i), month);
        rocksdb_column_family_handle_t *handle =
            rocksdb_create_column_family(store->db, store->db_options, name, &error);
        if (error) { /* beside an error comes a shell without a handle */
            rocksdb_column_family_handle_destroy(handle);
            return store_error_take(&error, text, text_len);
        }
        slot->family[i] = handle;
    }
    slot_publish(slot);
    return 0;
}

void store_families_release(struct store_month *pin)
{
    if (!pin || atomic_fetch_sub_explicit(&pin->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (int i = 0; i < STORE_MONTHLY_COUNT; i++) {
        rocksdb_column_family_handle_destroy(pin->family[i]);
        pin->family[i] = NULL;
    }
    atomic_store_explicit(&pin->used, false, memory_order_release);
}

rocksdb_column_family_handle_t *store_families_acquire(struct store *store, const struct store_key *at,
                                                       struct store_month **pin)
{
    parley_assert(at->family < STORE_FAMILY_COUNT && (at->family >= STORE_FIXED_COUNT) == (at->month != 0));
    *pin = NULL;
    if (at->family < STORE_FIXED_COUNT)
        return store->families.fixed[at->family];
    struct store_month *slot = slot_of(&store->families, at->month);
    if (!slot)
        return NULL;
    uint32_t refs = atomic_load_explicit(&slot->refs, memory_order_relaxed);
    do {
        if (refs == 0)
            return NULL; /* it is leaving */
    } while (!atomic_compare_exchange_weak_explicit(&slot->refs, &refs, refs + 1, memory_order_acquire,
                                                    memory_order_relaxed));
    if (atomic_load_explicit(&slot->month, memory_order_acquire) != at->month) {
        store_families_release(slot);
        return NULL;
    }
    *pin = slot;
    return slot->family[at->family - STORE_FIXED_COUNT];
}

int store_families_each(struct store *store, store_family_fn *fn, void *owner)
{
    int answer = 0;
    for (int f = 0; f < STORE_FIXED_COUNT && !answer; f++)
        if (store->families.fixed[f])
            answer = fn(store, store->families.fixed[f], owner);
    uint32_t months[STORE_MONTHS_MAX];
    size_t count = store_months(store, months, STORE_MONTHS_MAX);
    for (size_t i = 0; i < count; i++)
        for (int f = STORE_FIXED_COUNT; f < STORE_FAMILY_COUNT && !answer; f++) {
            struct store_month *pin;
            struct store_key at = {(enum store_family)f, months[i], {NULL, 0}};
            rocksdb_column_family_handle_t *family = store_families_acquire(store, &at, &pin);
            if (family)
                answer = fn(store, family, owner);
            store_families_release(pin);
        }
    return answer;
}

size_t store_months(struct store *store, uint32_t *months, size_t max)
{
    uint32_t all[STORE_MONTHS_MAX];
    size_t count = 0;
    uint32_t end = atomic_load_explicit(&store->families.months_end, memory_order_acquire);
    for (uint32_t i = 0; i < end; i++) {
        uint32_t month = atomic_load_explicit(&store->families.months[i].month, memory_order_acquire);
        if (!month)
            continue;
        size_t at = count++;
        for (; at > 0 && all[at - 1] < month; at--)
            all[at] = all[at - 1];
        all[at] = month;
    }
    if (max && count)
        memcpy(months, all, (count < max ? count : max) * sizeof *months);
    return count;
}

int store_drop_month(struct store *store, uint32_t month)
{
    pthread_mutex_lock(&store->exclusive);
    int err = 0;
    struct store_month *slot = month ? slot_of(&store->families, month) : NULL;
    if (!slot) {
        err = -PARLEY_ERR_NOT_FOUND;
        goto out;
    }
    int dropped = 0;
    for (; dropped < STORE_MONTHLY_COUNT && !err; dropped += !err) {
        char *error = NULL;
        rocksdb_drop_column_family(store->db, slot->family[dropped], &error);
        err = store_error_take(&error, NULL, 0);
    }
    if (dropped == 0)
        goto out;
    /* An error or a crash after the first drop leaves half a month: the next open makes it whole (empty where
     * it was dropped), so that it is listed and can be dropped again. */
    atomic_store_explicit(&slot->month, 0, memory_order_release);
    store_families_release(slot);
out:
    pthread_mutex_unlock(&store->exclusive);
    return err;
}

/* A folder without CURRENT is new; but one with tables has lost it, and a new database would bury them. */
static int folder_look(const char *dir, bool *exists, char *text, size_t text_len)
{
    char path[PATH_MAX + 16];
    snprintf(path, sizeof path, "%s/CURRENT", dir);
    *exists = access(path, F_OK) == 0;
    if (*exists)
        return 0;
    DIR *d = opendir(dir);
    if (!d)
        return errno == ENOENT ? 0 : -PARLEY_ERR_IO;
    bool tables = false;
    for (struct dirent *e = readdir(d); e; e = readdir(d)) {
        const char *dot = strrchr(e->d_name, '.');
        tables = tables || (dot && strcmp(dot, ".sst") == 0);
    }
    closedir(d);
    if (!tables)
        return 0;
    snprintf(text, text_len, "%s has tables but no CURRENT file", dir);
    return -PARLEY_ERR_CORRUPT;
}

/* Hands each opened family to its place. From here on close destroys it. */
static void adopt(struct store *store, char **names, rocksdb_column_family_handle_t **handles, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        enum store_family family;
        uint32_t month;
        if (strcmp(names[i], empty_name) == 0) {
            store->families.empty = handles[i];
        } else if (!name_parse(names[i], &family, &month)) {
            parley_assert(!"names were checked before opening");
        } else if (family < STORE_FIXED_COUNT) {
            store->families.fixed[family] = handles[i];
        } else {
            struct store_month *slot = slot_to_make(&store->families, month);
            parley_assert(slot); /* counted before opening */
            slot->family[family - STORE_FIXED_COUNT] = handles[i];
        }
    }
}

/* All names to open: those that exist, and the fixed ones. */
static int names_collect(struct store *store, char **names, size_t max, size_t *count, char *text,
                         size_t text_len)
{
    size_t found = 0;
    char **listed = NULL, *error = NULL;
    bool exists = false;
    int err = folder_look(store->dir, &exists, text, text_len);
    if (!err && exists) {
        listed = rocksdb_list_column_families(store->db_options, store->dir, &found, &error);
        err = store_error_take(&error, text, text_len);
        if (err)
            rocksdb_free(listed); /* of no name, but not NULL */
    }
    if (err)
        return err;
    if (!exists && store->options.read_only) {
        snprintf(text, text_len, "there is no store in %s", store->dir);
        return -PARLEY_ERR_NOT_FOUND;
    }
    size_t n = 0, monthly = 0;
    names[n++] = name_copy(empty_name);
    for (int f = 0; f < STORE_FIXED_COUNT && !store->options.read_only; f++)
        names[n++] = name_copy(family_names[f]);
    for (size_t i = 0; listed && i < found && !err; i++) {
        enum store_family family;
        uint32_t month;
        if (strcmp(listed[i], empty_name) == 0)
            continue;
        if (!name_parse(listed[i], &family, &month)) {
            snprintf(text, text_len, "unknown family %s: written by another version?", listed[i]);
            err = -PARLEY_ERR_BAD_REQUEST;
        } else if (month && (monthly++ >= STORE_MONTHS_MAX || n == max)) {
            snprintf(text, text_len, "too many months");
            err = -PARLEY_ERR_LIMIT;
        } else if (month || store->options.read_only) {
            names[n++] = name_copy(listed[i]);
        }
    }
    for (size_t i = 0; i < n; i++)
        if (!names[i])
            err = -PARLEY_ERR_NOMEM;
    if (listed)
        rocksdb_list_column_families_destroy(listed, found);
    *count = n;
    return err;
}

/* A kill between the making of a month's families leaves some, without rows: make the rest; who only reads has no use for
 * them. */
static int months_complete(struct store *store, char *text, size_t text_len)
{
    int err = 0;
    uint32_t end = atomic_load(&store->families.months_end);
    for (uint32_t i = 0; i < end && !err; i++) {
        struct store_month *slot = &store->families.months[i];
        bool whole = true;
        for (int f = 0; f < STORE_MONTHLY_COUNT; f++)
            whole = whole && slot->family[f];
        if (!store->options.read_only)
            err = store_families_ensure(store, slot->making, text, text_len);
        else if (whole)
            slot_publish(slot);
    }
    return err;
}

int store_families_open(struct store *store, char *text, size_t text_len)
{
    enum { NAMES_MAX = 1 + STORE_FIXED_COUNT + STORE_MONTHS_MAX * STORE_MONTHLY_COUNT };
    size_t count = 0;
    char *error = NULL;
    const rocksdb_options_t **options = NULL;
    rocksdb_column_family_handle_t **handles = NULL;
    int err = -PARLEY_ERR_NOMEM;
    char **names = memory_zalloc(NAMES_MAX * sizeof *names);
    if (!names)
        return err;
    options = memory_alloc(NAMES_MAX * sizeof *options);
    handles = memory_alloc(NAMES_MAX * sizeof *handles);
    if (!options || !handles)
        goto out;
    err = store_space_for_files(store, text, text_len);
    if (err)
        goto out;
    err = names_collect(store, names, NAMES_MAX, &count, text, text_len);
    if (err)
        goto out;
    for (size_t i = 0; i < count; i++)
        options[i] = store->db_options;
    if (store->options.read_only)
        store->db = rocksdb_open_for_read_only_column_families(store->db_options, store->dir, (int)count,
                                                               (const char *const *)names, options, handles,
                                                               0, &error);
    else
        store->db = rocksdb_open_column_families(store->db_options, store->dir, (int)count,
                                                 (const char *const *)names, options, handles, &error);
    err = store_error_take(&error, text, text_len);
    if (err) {
        store->db = NULL;
        goto out;
    }
    adopt(store, names, handles, count);
    err = months_complete(store, text, text_len);
out:
    for (size_t i = 0; i < NAMES_MAX; i++)
        memory_free(names[i]);
    memory_free(names);
    memory_free(options);
    memory_free(handles);
    return err;
}

void store_families_close(struct store *store)
{
    struct store_families *families = &store->families;
    uint32_t end = atomic_load(&families->months_end);
    for (uint32_t i = 0; i < end; i++) {
        struct store_month *slot = &families->months[i];
        /* A reader that is still inside is our own mistake: RocksDB would abort on its handle. */
        parley_assert(atomic_load(&slot->refs) == (atomic_load(&slot->month) ? 1U : 0U));
        for (int f = 0; f < STORE_MONTHLY_COUNT; f++)
            if (slot->family[f])
                rocksdb_column_family_handle_destroy(slot->family[f]);
    }
    for (int f = 0; f < STORE_FIXED_COUNT; f++)
        if (families->fixed[f])
            rocksdb_column_family_handle_destroy(families->fixed[f]);
    if (families->empty)
        rocksdb_column_family_handle_destroy(families->empty);
}
