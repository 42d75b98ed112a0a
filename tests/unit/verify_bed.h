/* tests/unit/verify_bed.h: two data folders that are made once, a copy to be damaged and looked at, and tools to damage it.
 *
 * Shape:  bed_set_up -> copy_to_work("clean" or "killed") -> damage -> look -> what it told.
 *         `clean`: a server that was stopped. `killed`: the same one started again, used and killed: some of that is in the
 *         stores' files, some was in their memory, some is in the logs alone.
 *         A store is opened by the first row that is read or written, and closed by `put_down`, which each look begins with.
 * Thread: one, beside the stores'.
 */
#ifndef PARLEY_TESTS_VERIFY_BED_H
#define PARLEY_TESTS_VERIFY_BED_H

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "src/machine/turn.h"
#include "src/shard/large_set.h"
#include "src/shard/rows.h"
#include "src/verify/verify.h"
#include "storage/log.h"
#include "tests/unit/verify_world.h"

enum { CONVERSATIONS = 4, PATH_BYTES = 512, LARGE_ADDS = 320, FIRST_CLIENT_ID = 100000 };

static char base[64];                    /* holds the folders `clean`, `killed`, and each test's own `work` */
static char work[96];                    /* what is damaged and looked at */
static struct hash_key folder_key;       /* of all three */
static struct id16 chats[CONVERSATIONS]; /* chats[0] has several chunks and who left */
static uint32_t home[CONVERSATIONS];     /* their shards; home[1] is not home[0] */

__attribute__((format(printf, 1, 2))) static inline void shell(const char *format, ...)
{
    char command[4 * PATH_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(command, sizeof command, format, args);
    va_end(args);
    if (system(command) != 0)
        fail_msg("%s", command);
}

/* The first line that it says. */
__attribute__((format(printf, 3, 4))) static inline void shell_says(char *out, size_t max, const char *format,
                                                                    ...)
{
    char command[4 * PATH_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(command, sizeof command, format, args);
    va_end(args);
    FILE *f = popen(command, "r");
    assert_non_null(f);
    if (!fgets(out, (int)max, f))
        out[0] = '\0';
    out[strcspn(out, "\n")] = '\0';
    pclose(f);
}

/* ---- folders */

static inline void fill(struct world *w)
{
    for (int i = 0; i < CONVERSATIONS; i++) {
        char client_id[8];
        snprintf(client_id, sizeof client_id, "chat%d", i);
        world_create(w, "ann", client_id, CONVERSATION_GROUP, 6);
        world_send(w, &chats[i], i ? 10 : 200);
    }
    world_change(w, COMMAND_REMOVE, &chats[0], "user3");
    world_change(w, COMMAND_ADD, &chats[0], "zoe");
    world_change(w, COMMAND_ROLE, &chats[0], "user1");
    world_receipt(w, &chats[0], "user1", 50, 60);
    world_receipt(w, &chats[0], "user2", 0, 7);
    world_receipt(w, &chats[0], "user1", 120, 130);
    world_fence(w, &chats[0]);
    world_profile(w, "ann");
    world_profile(w, "user1");
    struct id16 large = world_create(w, "ann", "large", CONVERSATION_CHANNEL, 200);
    for (int i = 0; i < LARGE_ADDS; i++) {
        char user[16];
        snprintf(user, sizeof user, "more%d", i);
        world_change(w, COMMAND_ADD, &large, user);
    }
}

static inline void find_homes(struct world *w)
{
    struct hasher hasher = {w, hash_callback};
    folder_key = w->folder.key;
    for (int i = 0; i < CONVERSATIONS; i++) {
        char client_id[8];
        snprintf(client_id, sizeof client_id, "chat%d", i);
        chats[i] = conversation_id_group(&hasher, CONVERSATION_GROUP, words("ann"), words(client_id));
        home[i] = hash_shard(&w->folder.key, &chats[i], SHARDS);
    }
}

enum { MADE, UNLUCKY };

/* With a key that puts both on one shard the other has nothing that a test could damage. */
static inline int make_clean(const char *dir)
{
    struct world *w = world_open(dir);
    find_homes(w);
    int made = home[0] == home[1] ? UNLUCKY : MADE;
    if (made == MADE)
        fill(w);
    world_close(w);
    return made;
}

static inline int make_killed(const char *dir)
{
    struct world *w = world_open(dir);
    w->next_client_id = FIRST_CLIENT_ID;
    find_homes(w);
    for (int i = 0; i < CONVERSATIONS; i++)
        world_send(w, &chats[i], 70);
    world_create(w, "bob", "late", CONVERSATION_GROUP, 3);
    world_change(w, COMMAND_REMOVE, &chats[2], "user1");
    world_receipt(w, &chats[0], "user2", 8, 9);
    _exit(MADE);
}

/* In a child, so that a crash leaves nothing behind here. */
static inline int in_child(int (*make)(const char *dir), const char *dir)
{
    int status = 0;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(make(dir));
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) <= UNLUCKY);
    return WEXITSTATUS(status);
}

static inline int bed_set_up(void **state)
{
    char dir[96], text[DATA_FOLDER_TEXT_BYTES];
    struct world w;
    (void)state;
    snprintf(base, sizeof base, "/tmp/parley-verify-XXXXXX");
    if (!mkdtemp(base))
        return -1;
    snprintf(work, sizeof work, "%s/work", base);
    snprintf(dir, sizeof dir, "%s/clean", base);
    do
        shell("rm -rf %s", dir);
    while (in_child(make_clean, dir) == UNLUCKY);
    snprintf(dir, sizeof dir, "%s/killed", base);
    shell("cp -a %s/clean %s", base, dir);
    assert_int_equal(in_child(make_killed, dir), MADE);
    assert_int_equal(data_folder_look(dir, false, &w.folder, text), 0);
    find_homes(&w);
    data_folder_close(&w.folder);
    return 0;
}

static inline int bed_tear_down(void **state)
{
    (void)state;
    shell("rm -rf %s", base);
    return 0;
}

/* ---- stores and their rows */

static struct store *at_hand[SHARDS];

static inline void row_written(void *owner)
{
    *(bool *)owner = true;
}

static inline void no_store_fatal(void *owner, const char *what)
{
    (void)owner;
    fail_msg("%s", what);
}

static inline void no_wake(void *owner)
{
    (void)owner;
}

static inline void put_down(void)
{
    for (uint32_t i = 0; i < SHARDS; i++)
        store_close(&at_hand[i]);
}

static inline void copy_to_work(const char *name)
{
    put_down();
    shell("rm -rf %s && cp -a %s/%s %s", work, base, name, work);
}

static inline struct store *store_of(uint32_t shard)
{
    char dir[PATH_BYTES], text[256];
    snprintf(dir, sizeof dir, "%s/shard-%04u/store", work, shard);
    struct store_options options = {
        .dir = dir, .space_guard_bytes = 1, .wake = no_wake, .on_fatal = no_store_fatal};
    if (!at_hand[shard])
        assert_int_equal(store_open(&options, &at_hand[shard], text, sizeof text), 0);
    return at_hand[shard];
}

static inline void write_row(uint32_t shard, struct store_key at, const struct span *value)
{
    struct store *store = store_of(shard);
    struct store_batch *batch;
    bool written = false;
    assert_int_equal(store_batch_create(store, &batch), 0);
    if (value)
        store_batch_put(batch, at, *value);
    else
        store_batch_delete(batch, at);
    assert_int_equal(store_submit(store, &batch, row_written, &written), 0);
    while (!written) {
        usleep(100);
        store_poll(store);
    }
}

struct found_row {
    struct store_key at;
    uint8_t key[64], *value;
    size_t len;
    uint32_t skip;
};

static inline int on_row_to_find(void *owner, struct span key, struct span value)
{
    struct found_row *row = owner;
    if (row->skip-- > 0)
        return 0;
    memcpy(row->key, key.data, key.len);
    row->at.key = (struct span){row->key, key.len};
    row->value = malloc(value.len + 64); /* some grow */
    memcpy(row->value, value.data, value.len);
    row->len = value.len;
    return 1;
}

/* The nth row of the family that begins with the prefix. */
static inline struct found_row *read_row(uint32_t shard, enum store_family family, struct span prefix,
                                         uint32_t nth)
{
    static struct found_row row;
    struct store *store = store_of(shard);
    uint32_t months[2] = {0}, month = 0;
    if (family >= STORE_FIXED_COUNT) { /* newest first; one is made ahead of time and empty */
        assert_int_equal(store_months(store, months, 2), 2);
        month = months[1];
    }
    row = (struct found_row){.at = {family, month, prefix}, .skip = nth};
    assert_int_equal(store_scan(store, row.at, prefix.len, on_row_to_find, &row), 0);
    if (!row.value)
        fail_msg("shard %u has no such row of family %d", shard, (int)family);
    return &row;
}

static inline struct span of(const struct id16 *id)
{
    return (struct span){id->bytes, sizeof *id};
}

static inline void put_back(uint32_t shard, struct found_row *row)
{
    struct span value = {row->value, row->len};
    write_row(shard, row->at, &value);
    free(row->value);
}

static inline void delete_row(uint32_t shard, struct found_row *row)
{
    write_row(shard, row->at, NULL);
    free(row->value);
}

static const struct span position_key = {(const uint8_t *)"position", 8};

static inline struct found_row *position_row(void)
{
    return read_row(home[0], STORE_META, position_key, 0);
}

static inline struct found_row *conversation_row(int i)
{
    return read_row(home[i], STORE_CONVERSATIONS, of(&chats[i]), 0);
}

/* NULL: the store knows nothing of it. */
static inline struct conversation *stored_chat(int i)
{
    struct conversation *c = NULL;
    struct dedup_options all = {UINT64_MAX, 1000};
    uint8_t *value = NULL;
    size_t len;
    int err = store_get(store_of(home[i]), (struct store_key){STORE_CONVERSATIONS, 0, of(&chats[i])},
                        STORE_ALL, &value, &len);
    if (!err)
        assert_int_equal(conversation_decode(&chats[i], &all, (struct span){value, len}, &c), 0);
    memory_free(value);
    return c;
}

static inline uint64_t last_seq_of_chat(int i)
{
    struct conversation *c = stored_chat(i);
    uint64_t seq = c ? c->applied.last_seq : 0;
    conversation_destroy(&c);
    return seq;
}

static inline int on_row_to_count(void *owner, struct span key, struct span value)
{
    (void)key, (void)value;
    ++*(uint64_t *)owner;
    return 0;
}

static inline uint64_t count_rows(uint32_t shard, enum store_family family)
{
    uint64_t count = 0;
    struct store_key from = {family, 0, {0}};
    assert_int_equal(store_scan(store_of(shard), from, 0, on_row_to_count, &count), 0);
    return count;
}

/* ---- files */

static inline void find_segment(uint32_t shard, char path[PATH_BYTES])
{
    shell_says(path, PATH_BYTES, "ls %s/shard-%04u/log/*.seg | head -1", work, shard);
    assert_true(path[0]);
}

static inline void flip(const char *path, long offset)
{
    int fd = open(path, O_RDWR);
    uint8_t byte;
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, offset), 1);
    byte ^= 0x10;
    assert_int_equal(pwrite(fd, &byte, 1, offset), 1);
    close(fd);
}

static inline void flip_in_log_of(uint32_t shard, uint32_t block)
{
    char path[PATH_BYTES];
    find_segment(shard, path);
    flip(path, (long)block * 4096 + 100);
}

static inline void flip_in_log(void)
{
    flip_in_log_of(home[0], 5);
}

static inline void flip_in_manifest_of(uint32_t shard)
{
    char path[PATH_BYTES];
    put_down();
    shell_says(path, sizeof path, "ls -S %s/shard-%04u/store/MANIFEST-* | head -1", work, shard);
    flip(path, 20);
}

/* Everything that is in it, with its size and time. */
static inline void print_tree(char out[64])
{
    put_down();
    shell_says(out, 64, "cd %s && find . -printf '%%p %%s %%T@\\n' | sort | md5sum", work);
}

/* ---- logs */

static inline uint64_t a_ceiling(void *owner)
{
    return *(uint64_t *)owner;
}

static inline void no_log_fatal(void *owner, int err, const char *what)
{
    (void)owner, (void)err;
    fail_msg("%s", what);
}

static inline void not_told(void *owner, uint64_t end)
{
    (void)owner, (void)end;
}

/* As if a server had decided it. An id of 0 is filled in; gives its position. */
static inline uint64_t append_record(uint32_t shard, const void *record, size_t len, uint64_t ceiling)
{
    char dir[PATH_BYTES];
    struct file_layer *files;
    struct log_report report;
    struct log *log;
    uint64_t position, end = 0;
    snprintf(dir, sizeof dir, "%s/shard-%04u/log", work, shard);
    assert_int_equal(file_layer_uring_create(NULL, &files), 0);
    struct log_options options = {.dir = dir,
                                  .files = files,
                                  .segment_bytes = SEGMENT_BYTES,
                                  .owner = &ceiling,
                                  .on_durable = not_told,
                                  .on_fatal = no_log_fatal,
                                  .ceiling = a_ceiling};
    assert_int_equal(log_open(&options, &report, &log), 0);
    ceiling = report.ceiling > ceiling ? report.ceiling : ceiling;
    assert_int_equal(log_append(log, record, len, 1, &position), 0);
    for (int i = 0; i < 30000 && end <= position; i++) { /* the disk takes what it takes */
        log_poll(log, 0);
        end = log_end(log);
        usleep(1000);
    }
    assert_true(end > position);
    log_close(&log);
    file_layer_uring_destroy(&files);
    return position;
}

static inline struct log_report log_of(uint32_t shard)
{
    char dir[PATH_BYTES];
    struct file_layer *files;
    struct log_report report;
    struct log *log;
    int verdict = 0;
    snprintf(dir, sizeof dir, "%s/shard-%04u/log", work, shard);
    assert_int_equal(file_layer_uring_create(NULL, &files), 0);
    struct log_options options = {.dir = dir, .files = files};
    assert_int_equal(log_inspect(&options, &report, &verdict, &log), 0);
    log_close(&log);
    file_layer_uring_destroy(&files);
    return report;
}

/* Above all that the shard has given so far. */
static inline uint64_t next_id(uint32_t shard)
{
    struct snowflake ids;
    snowflake_init(&ids, shard, log_of(shard).seen_ceiling);
    return snowflake_next(&ids, 0);
}

static inline uint64_t append_event(uint32_t shard, struct event e)
{
    uint8_t room[1024];
    struct bytes_writer w = bytes_writer_of(room, sizeof room);
    e.id = e.id ? e.id : next_id(shard);
    event_encode(&w, &e);
    assert_false(w.failed);
    return append_record(shard, room, bytes_writer_len(&w), e.id);
}

/* ---- looking */

enum { LOSSES_MAX = 16 };

struct told {
    char text[8192];
    size_t len;
    uint64_t ever[VERIFY_KIND_COUNT];
    char remedy[VERIFY_KIND_COUNT][VERIFY_TEXT_BYTES]; /* of the first of the last look */
    struct verify_loss losses[LOSSES_MAX];
    uint32_t loss_count;
};

__attribute__((format(printf, 2, 3))) static inline void note(struct told *told, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (told->len < sizeof told->text)
        told->len += (size_t)vsnprintf(told->text + told->len, sizeof told->text - told->len, format, args);
    va_end(args);
}

static inline void on_finding(void *owner, const struct verify_finding *f)
{
    struct told *told = owner;
    told->ever[f->kind]++;
    assert_true(f->where[0] && f->what[0] && f->remedy[0]);
    if (!told->remedy[f->kind][0])
        snprintf(told->remedy[f->kind], VERIFY_TEXT_BYTES, "%s", f->remedy);
    note(told, "%s: %s: %s\n", verify_kind_name(f->kind), f->where, f->what);
}

static inline void on_loss(void *owner, const struct verify_loss *loss)
{
    struct told *told = owner;
    assert_true(told->loss_count < LOSSES_MAX && loss->first <= loss->last);
    assert_true(loss->events > 0 && loss->events <= loss->last - loss->first + 1 && loss->why[0]);
    told->losses[told->loss_count++] = *loss;
    note(told, "%s %llu to %llu: %s\n", loss->done ? "lost" : "would be lost",
         (unsigned long long)loss->first, (unsigned long long)loss->last, loss->why);
}

static inline void on_mended(void *owner, const char *what)
{
    note(owner, "repaired: %s\n", what);
}

static inline void on_again(void *owner)
{
    struct told *told = owner;
    memset(told->remedy, 0, sizeof told->remedy);
    note(told, "-- again\n");
}

static inline uint64_t total(const struct verify_report *r)
{
    return verify_report_count(r, VERIFY_DAMAGE) + verify_report_count(r, VERIFY_DERIVED) +
           verify_report_count(r, VERIFY_NOTE);
}

enum { LOOK = 0, REPAIR = 1 };

/* What verify_folder answers; the report is of the last look. */
static inline int try_look(struct told *told, bool repair, struct file_layer *files,
                           struct verify_report *report, char text[VERIFY_TEXT_BYTES])
{
    struct verify_summary summary;
    struct verify_options options = {.dir = work, .repair = repair, .deep = true, .files = files};
    put_down();
    *told = (struct told){0};
    *report = (struct verify_report){.owner = told,
                                     .on_finding = on_finding,
                                     .on_loss = on_loss,
                                     .on_mended = on_mended,
                                     .on_again = on_again};
    int err = verify_folder(&options, report, &summary, text);
    verify_summary_clear(&summary);
    return err;
}

static inline struct verify_report look(struct told *told, bool repair)
{
    char text[VERIFY_TEXT_BYTES];
    struct verify_report report;
    if (try_look(told, repair, NULL, &report, text))
        fail_msg("verify: %s", text);
    return report;
}

static inline void expect_clean(void)
{
    struct told told;
    struct verify_report report = look(&told, LOOK);
    if (total(&report))
        fail_msg("not clean:\n%s", told.text);
}

/* A repair after which there is nothing to tell. */
static inline void expect_repaired(struct told *told)
{
    struct verify_report report = look(told, REPAIR);
    if (total(&report))
        fail_msg("not repaired:\n%s", told->text);
}

/* What was lost may have been a conversation's beginning: its rows in lists are left to a second repair. */
static inline void expect_repaired_with_losses(struct told *told)
{
    struct told again;
    struct verify_report report = look(told, REPAIR);
    if (total(&report) != report.counts[VERIFY_KIND_UNDECIDED])
        fail_msg("not repaired:\n%s", told->text);
    expect_repaired(&again);
}

/* A server starts on it, and gives ids above all that were. */
static inline void go_on(int i, uint64_t above)
{
    put_down();
    struct world *w = world_open(work);
    w->next_client_id = 2 * FIRST_CLIENT_ID;
    world_send(w, &chats[i], 1);
    assert_true(w->last_id > above);
    world_change(w, COMMAND_ADD, &chats[i], "newcomer");
    world_close(w);
    expect_clean();
}

#endif
