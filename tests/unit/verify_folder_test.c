/* Each kind of damage is found and named, what can be repaired is, and a clean folder has nothing to tell. */
#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "src/base/crc32c.h"
#include "src/shard/large_set.h"
#include "src/shard/rows.h"
#include "src/verify/verify.h"
#include "tests/unit/verify_world.h"

enum { CONVERSATIONS = 4, PATH_BYTES = 512, LARGE_ADDS = 420 };

static char base[64];                    /* holds the folders `clean`, `killed`, and each test's own `work` */
static char work[96];                    /* what is damaged and looked at */
static struct hash_key folder_key;       /* of `work` */
static struct id16 chats[CONVERSATIONS]; /* chats[0] has several chunks and who left */
static uint32_t home[CONVERSATIONS];     /* their shards */

/* ---- folders */

static void fill(struct world *w)
{
    for (int i = 0; i < CONVERSATIONS; i++) {
        char client_id[8];
        snprintf(client_id, sizeof client_id, "chat%d", i);
        chats[i] = world_create(w, "ann", client_id, CONVERSATION_GROUP, 6);
        world_send(w, &chats[i], i ? 10 : 200);
    }
    world_change(w, COMMAND_REMOVE, &chats[0], "user3");
    world_change(w, COMMAND_ADD, &chats[0], "zoe");
    world_change(w, COMMAND_ROLE, &chats[0], "user1");
    world_profile(w, "ann");
    world_profile(w, "user1");
    struct id16 large = world_create(w, "ann", "large", CONVERSATION_CHANNEL, 200);
    for (int i = 0; i < LARGE_ADDS; i++) {
        char user[16];
        snprintf(user, sizeof user, "more%d", i);
        world_change(w, COMMAND_ADD, &large, user);
    }
}

/* Each folder has a key of its own, so the same names lie elsewhere. */
static void find_homes(struct world *w)
{
    struct hasher hasher = {w, hash_callback};
    for (int i = 0; i < CONVERSATIONS; i++) {
        char client_id[8];
        snprintf(client_id, sizeof client_id, "chat%d", i);
        chats[i] = conversation_id_group(&hasher, CONVERSATION_GROUP, words("ann"), words(client_id));
        home[i] = hash_shard(&w->folder.key, &chats[i], SHARDS);
    }
}

/* With a key that puts all on one shard the other has nothing that a test could damage. */
static bool all_at_home(void)
{
    int alike = 0;
    for (int i = 0; i < CONVERSATIONS; i++)
        alike += home[i] == home[0];
    return alike == CONVERSATIONS;
}

enum { MADE, UNLUCKY };

static int make_world(const char *dir, bool killed)
{
    struct world *w = world_open(dir);
    find_homes(w);
    if (all_at_home()) {
        world_close(w);
        return UNLUCKY;
    }
    fill(w);
    if (killed) { /* some of it is in the stores' files, some in their memory, some in the log alone */
        uint32_t next = w->next_client_id;
        world_close(w);
        w = world_open(dir);
        w->next_client_id = next;
        for (int i = 0; i < CONVERSATIONS; i++)
            world_send(w, &chats[i], 70);
        world_create(w, "bob", "late", CONVERSATION_GROUP, 3);
        world_change(w, COMMAND_REMOVE, &chats[2], "user1");
        _exit(MADE);
    }
    world_close(w);
    return MADE;
}

/* In a child, so that a crash leaves nothing behind here. */
static void make_folder(const char *name, bool killed)
{
    char dir[96], command[PATH_BYTES];
    int status = 0;
    snprintf(dir, sizeof dir, "%s/%s", base, name);
    snprintf(command, sizeof command, "rm -rf %s", dir);
    do {
        assert_int_equal(system(command), 0);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0)
            _exit(make_world(dir, killed));
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) <= UNLUCKY);
    } while (WEXITSTATUS(status) == UNLUCKY);
}

static void copy_to_work(const char *name)
{
    char command[PATH_BYTES], text[DATA_FOLDER_TEXT_BYTES];
    struct world w;
    snprintf(command, sizeof command, "rm -rf %s && cp -a %s/%s %s", work, base, name, work);
    assert_int_equal(system(command), 0);
    assert_int_equal(data_folder_look(work, false, &w.folder, text), 0);
    folder_key = w.folder.key;
    find_homes(&w);
    data_folder_close(&w.folder);
}

static int set_up(void **state)
{
    (void)state;
    snprintf(base, sizeof base, "/tmp/parley-verify-XXXXXX");
    if (!mkdtemp(base))
        return -1;
    snprintf(work, sizeof work, "%s/work", base);
    make_folder("clean", false);
    make_folder("killed", true);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    char command[PATH_BYTES];
    snprintf(command, sizeof command, "rm -rf %s", base);
    return system(command);
}

/* ---- looking */

struct told {
    char text[4096];
    size_t len;
    uint64_t ever[VERIFY_KIND_COUNT];
};

static void on_finding(void *owner, const struct verify_finding *f)
{
    struct told *told = owner;
    told->ever[f->kind]++;
    assert_true(f->where[0] && f->what[0] && f->remedy[0]);
    if (told->len < sizeof told->text)
        told->len += (size_t)snprintf(told->text + told->len, sizeof told->text - told->len, "%s: %s: %s\n",
                                      verify_kind_name(f->kind), f->where, f->what);
}

static uint64_t total(const struct verify_report *r)
{
    return verify_report_count(r, VERIFY_DAMAGE) + verify_report_count(r, VERIFY_DERIVED) +
           verify_report_count(r, VERIFY_NOTE);
}

/* Answers what the last look found. */
static struct verify_report look(struct told *told, bool repair, bool deep)
{
    static struct verify_summary summary;
    char text[VERIFY_TEXT_BYTES];
    struct verify_options options = {.dir = work, .repair = repair, .deep = deep};
    struct verify_report report = {.owner = told, .on_finding = on_finding};
    *told = (struct told){0};
    int err = verify_folder(&options, &report, &summary, text);
    if (err)
        fail_msg("verify: %s", text);
    verify_summary_clear(&summary);
    return report;
}

static void expect_clean(void)
{
    struct told told;
    struct verify_report report = look(&told, false, true);
    if (total(&report))
        fail_msg("not clean:\n%s", told.text);
}

static void print_tree(char *out, size_t max)
{
    char command[PATH_BYTES];
    snprintf(command, sizeof command, "cd %s && find . -printf '%%p %%s %%T@\\n' | sort | md5sum", work);
    FILE *f = popen(command, "r");
    assert_non_null(f);
    assert_non_null(fgets(out, (int)max, f));
    pclose(f);
}

static void a_clean_folder_has_nothing_to_tell_and_is_not_written(void **state)
{
    (void)state;
    char before[64], after[64];
    copy_to_work("clean");
    print_tree(before, sizeof before);
    expect_clean();
    print_tree(after, sizeof after);
    assert_string_equal(before, after);
}

static void a_killed_server_leaves_nothing_to_tell(void **state)
{
    (void)state;
    char before[64], after[64];
    copy_to_work("killed");
    print_tree(before, sizeof before);
    expect_clean();
    print_tree(after, sizeof after);
    assert_string_equal(before, after);
}

/* ---- damage */

static void done(void *owner)
{
    *(bool *)owner = true;
}

static void no_fatal(void *owner, const char *what)
{
    (void)owner;
    fail_msg("%s", what);
}

static void no_wake(void *owner)
{
    (void)owner;
}

static struct store *open_store(uint32_t shard)
{
    char dir[PATH_BYTES], text[256];
    struct store *store = NULL;
    snprintf(dir, sizeof dir, "%s/shard-%04u/store", work, shard);
    struct store_options options = {
        .dir = dir, .space_guard_bytes = 1, .wake = no_wake, .on_fatal = no_fatal};
    assert_int_equal(store_open(&options, &store, text, sizeof text), 0);
    return store;
}

static void write_row(uint32_t shard, struct store_key at, const struct span *value)
{
    struct store *store = open_store(shard);
    struct store_batch *batch;
    bool written = false;
    assert_int_equal(store_batch_create(store, &batch), 0);
    if (value)
        store_batch_put(batch, at, *value);
    else
        store_batch_delete(batch, at);
    assert_int_equal(store_submit(store, &batch, done, &written), 0);
    store_close(&store);
    assert_true(written);
}

struct found_row {
    struct store_key at;
    uint8_t key[64], *value;
    size_t len;
    uint32_t skip;
};

static int on_row(void *owner, struct span key, struct span value)
{
    struct found_row *row = owner;
    if (row->skip-- > 0)
        return 0;
    memcpy(row->key, key.data, key.len);
    row->at.key = (struct span){row->key, key.len};
    row->value = malloc(value.len + 1);
    memcpy(row->value, value.data, value.len);
    row->len = value.len;
    return 1;
}

/* The nth row of the family that begins with the prefix. */
static struct found_row *read_row(uint32_t shard, enum store_family family, struct span prefix, uint32_t nth)
{
    static struct found_row row;
    struct store *store = open_store(shard);
    uint32_t months[2] = {0}, month = 0;
    if (family >= STORE_FIXED_COUNT) { /* newest first; one is made ahead of time and empty */
        assert_int_equal(store_months(store, months, 2), 2);
        month = months[1];
    }
    row = (struct found_row){.at = {family, month, prefix}, .skip = nth};
    assert_int_equal(store_scan(store, row.at, prefix.len, STORE_ALL, on_row, &row), 0);
    store_close(&store);
    if (!row.value)
        fail_msg("shard %u has no such row of family %d", shard, (int)family);
    return &row;
}

static struct span of(const struct id16 *id)
{
    return (struct span){id->bytes, sizeof *id};
}

static void put_back(uint32_t shard, struct found_row *row)
{
    struct span value = {row->value, row->len};
    write_row(shard, row->at, &value);
    free(row->value);
}

static void delete (uint32_t shard, struct found_row *row)
{
    write_row(shard, row->at, NULL);
    free(row->value);
}

static void find_segment(uint32_t shard, char path[PATH_BYTES])
{
    char command[PATH_BYTES];
    snprintf(command, sizeof command, "ls %s/shard-%04u/log/*.seg | head -1", work, shard);
    FILE *f = popen(command, "r");
    assert_non_null(f);
    assert_non_null(fgets(path, PATH_BYTES, f));
    path[strcspn(path, "\n")] = '\0';
    pclose(f);
}

static void flip(const char *path, long offset)
{
    int fd = open(path, O_RDWR);
    uint8_t byte;
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, offset), 1);
    byte ^= 0x10;
    assert_int_equal(pwrite(fd, &byte, 1, offset), 1);
    close(fd);
}

static void flip_in_log(void)
{
    char path[PATH_BYTES];
    find_segment(home[0], path);
    flip(path, 5 * 4096 + 100);
}

static void cut_log(void)
{
    char path[PATH_BYTES];
    find_segment(home[0], path);
    assert_int_equal(truncate(path, 9 * 4096), 0);
}

static void remove_in_log(const char *name)
{
    char command[PATH_BYTES];
    snprintf(command, sizeof command, "rm %s/shard-%04u/log/%s", work, home[0], name);
    assert_int_equal(system(command), 0);
}

static void lose_mark(void)
{
    remove_in_log("mark");
}

static void lose_segments(void)
{
    remove_in_log("*.seg");
}

static void flip_mark(void)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%s/shard-%04u/log/mark", work, home[0]);
    flip(path, 8);
    flip(path, 4096 + 8);
}

static const struct span position_key = {(const uint8_t *)"position", 8};

static void move_max_position(int64_t by)
{
    struct found_row *row = read_row(home[0], STORE_META, position_key, 0);
    uint64_t max;
    memcpy(&max, row->value + 9, sizeof max);
    max = htole64(le64toh(max) + (uint64_t)by);
    memcpy(row->value + 9, &max, sizeof max);
    put_back(home[0], row);
}

static void store_ahead_of_log(void)
{
    move_max_position(1000);
}

static void max_position_too_low(void)
{
    move_max_position(-100);
}

static void position_unreadable(void)
{
    struct found_row *row = read_row(home[0], STORE_META, position_key, 0);
    row->len = 5;
    put_back(home[0], row);
}

static void lose_chunk(void)
{
    delete (home[0], read_row(home[0], STORE_MESSAGES, of(&chats[0]), 1));
}

static void lose_newest_chunk(void)
{
    delete (home[0], read_row(home[0], STORE_MESSAGES, of(&chats[0]), 0));
}

static void cut_chunk(void)
{
    struct found_row *row = read_row(home[0], STORE_MESSAGES, of(&chats[0]), 1);
    row->len -= 3;
    put_back(home[0], row);
}

static void move_chunk(void)
{
    struct found_row *row = read_row(home[0], STORE_MESSAGES, of(&chats[0]), 1);
    struct span value = {row->value, row->len};
    write_row(home[0], row->at, NULL);
    row->key[23] ^= 1;
    write_row(home[0], row->at, &value);
    free(row->value);
}

static void chunk_in_another_month(void)
{
    struct found_row *row = read_row(home[0], STORE_MESSAGES, of(&chats[0]), 3);
    struct span value = {row->value, row->len};
    write_row(home[0], row->at, NULL);
    row->at.month--;
    write_row(home[0], row->at, &value);
    free(row->value);
}

/* The second message of a chunk gets the id of the first: length and kind, then the id. */
static void id_twice(void)
{
    struct found_row *row = read_row(home[0], STORE_MESSAGES, of(&chats[0]), 1);
    struct bytes_reader r = bytes_reader_of(row->value, row->len);
    struct span first = bytes_get_span(&r), second = bytes_get_span(&r);
    assert_false(r.failed);
    memcpy(row->value + (second.data - row->value) + 1, first.data + 1, 8);
    put_back(home[0], row);
}

static void body_changed(void)
{
    struct found_row *row = read_row(home[0], STORE_MESSAGES, of(&chats[0]), 0);
    row->value[row->len - 1] ^= 1;
    put_back(home[0], row);
}

static void lose_conversation(void)
{
    delete (home[1], read_row(home[1], STORE_CONVERSATIONS, of(&chats[1]), 0));
}

static void cut_conversation(void)
{
    struct found_row *row = read_row(home[1], STORE_CONVERSATIONS, of(&chats[1]), 0);
    row->len -= 1;
    put_back(home[1], row);
}

static void conversation_elsewhere(void)
{
    struct found_row *row = read_row(home[1], STORE_CONVERSATIONS, of(&chats[1]), 0);
    put_back(1 - home[1], row);
}

static void lose_dedup(void)
{
    delete (home[0], read_row(home[0], STORE_DEDUP, of(&chats[0]), 1));
}

static void dedup_points_elsewhere(void)
{
    struct found_row *row = read_row(home[0], STORE_DEDUP, of(&chats[0]), 1);
    row->value[5 * DEDUP_ENTRY_BYTES + 32] ^= 1; /* the sixth entry's seq */
    put_back(home[0], row);
}

static void dedup_of_another_command(void)
{
    struct found_row *row = read_row(home[0], STORE_DEDUP, of(&chats[0]), 1);
    row->value[5 * DEDUP_ENTRY_BYTES] ^= 1; /* its fingerprint */
    put_back(home[0], row);
}

static void lose_filter(void)
{
    delete (home[0], read_row(home[0], STORE_FILTERS, of(&chats[0]), 0));
}

static void filter_tag_changed(void)
{
    struct found_row *row = read_row(home[0], STORE_FILTERS, of(&chats[0]), 0);
    row->value[18 + 4 * 5] ^= 1;
    put_back(home[0], row);
}

static void lose_page(void)
{
    delete (home[0], read_row(home[0], STORE_MEMBERS, of(&chats[0]), 0));
}

static void page_too_many(void)
{
    struct found_row *row = read_row(home[0], STORE_MEMBERS, of(&chats[0]), 0);
    row->key[19] = 7;
    put_back(home[0], row);
}

static void lose_member(void)
{
    struct found_row *row = read_row(home[0], STORE_MEMBERS, of(&chats[0]), 0);
    struct page *page;
    assert_int_equal(page_decode(&chats[0], 0, (struct span){row->value, row->len}, &page), 0);
    page->applied->count--;
    struct bytes_writer w = bytes_writer_of(row->value, row->len);
    page_encode(page, &w);
    row->len = bytes_writer_len(&w);
    page->applied->count++;
    page_destroy(&page);
    put_back(home[0], row);
}

/* Of a user of chats[1], in his shard. */
static struct found_row *list_row(const char *user, uint32_t *shard)
{
    struct id16 hash = hash_128(&folder_key, user, strlen(user));
    static uint8_t key[32];
    memcpy(key, &hash, 16);
    memcpy(key + 16, &chats[1], 16);
    *shard = hash_shard(&folder_key, &hash, SHARDS);
    return read_row(*shard, STORE_MEMBERSHIPS, (struct span){key, sizeof key}, 0);
}

static void lose_list_row(void)
{
    uint32_t shard;
    struct found_row *row = list_row("user2", &shard);
    delete (shard, row);
}

static void list_row_too_many(void)
{
    uint32_t shard;
    struct found_row *row = list_row("user2", &shard);
    row->key[31] ^= 1;
    put_back(shard, row);
}

static void list_row_of_another_event(void)
{
    uint32_t shard;
    struct found_row *row = list_row("user2", &shard);
    row->value[1] ^= 1;
    put_back(shard, row);
}

static struct found_row *offset_row(uint8_t source)
{
    static uint8_t key[11] = "derived";
    key[10] = source;
    return read_row(0, STORE_META, (struct span){key, sizeof key}, 0);
}

static void derived_beyond_log(void)
{
    struct found_row *row = offset_row(1);
    row->value[2] += 1;
    put_back(0, row);
}

static void offset_unreadable(void)
{
    struct found_row *row = offset_row(1);
    row->len = 3;
    put_back(0, row);
}

static void cut_user(void)
{
    struct id16 hash = hash_128(&folder_key, "ann", 3);
    uint32_t shard = hash_shard(&folder_key, &hash, SHARDS);
    struct found_row *row = read_row(shard, STORE_USERS, of(&hash), 0);
    row->len -= 2;
    put_back(shard, row);
}

static void user_elsewhere(void)
{
    struct id16 hash = hash_128(&folder_key, "ann", 3);
    uint32_t shard = hash_shard(&folder_key, &hash, SHARDS);
    put_back(1 - shard, read_row(shard, STORE_USERS, of(&hash), 0));
}

static const struct span large_key = {(const uint8_t *)"large", 5};

static void lose_large(void)
{
    delete (0, read_row(0, STORE_META, large_key, 0));
}

static void large_too_many(void)
{
    struct found_row *row = read_row(0, STORE_META, large_key, 0);
    memcpy(row->key + 5, &chats[0], 16);
    put_back(0, row);
}

static void unknown_row(void)
{
    struct span value = {(const uint8_t *)"x", 1};
    write_row(0, (struct store_key){STORE_META, 0, {(const uint8_t *)"what", 4}}, &value);
}

static void flip_in_store(const char *pattern, long offset)
{
    char command[PATH_BYTES], path[PATH_BYTES];
    snprintf(command, sizeof command, "ls -S %s/shard-%04u/store/%s | head -1", work, home[0], pattern);
    FILE *f = popen(command, "r");
    assert_non_null(fgets(path, sizeof path, f));
    pclose(f);
    path[strcspn(path, "\n")] = '\0';
    flip(path, offset);
}

static void flip_in_table(void)
{
    flip_in_store("*.sst", 300); /* in its first block */
}

static void flip_in_manifest(void)
{
    flip_in_store("MANIFEST-*", 20);
}

static void flip_identity(void)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%s/identity", work);
    flip(path, 12);
}

static void lose_shard(void)
{
    char command[PATH_BYTES];
    snprintf(command, sizeof command, "rm -r %s/shard-%04u", work, home[0]);
    assert_int_equal(system(command), 0);
}

static void lose_store(void)
{
    char command[PATH_BYTES];
    snprintf(command, sizeof command, "rm -r %s/shard-%04u/store", work, home[0]);
    assert_int_equal(system(command), 0);
}

static const struct damage {
    void (*make)(void);
    enum verify_kind kind;
    bool repairable; /* then nothing is left to tell */
} damages[] = {
    {flip_in_log, VERIFY_KIND_LOG_DAMAGED, true},
    {cut_log, VERIFY_KIND_LOG_DAMAGED, true},
    {lose_mark, VERIFY_KIND_LOG_LOST, true},
    {flip_mark, VERIFY_KIND_LOG_DAMAGED, true},
    {lose_segments, VERIFY_KIND_LOG_LOST, true},
    {store_ahead_of_log, VERIFY_KIND_LOG_SHORT, true},
    {derived_beyond_log, VERIFY_KIND_LOG_SHORT, true},
    {max_position_too_low, VERIFY_KIND_POSITION, true},
    {position_unreadable, VERIFY_KIND_POSITION, true},
    {lose_chunk, VERIFY_KIND_MESSAGE_SEQ, false},
    {lose_newest_chunk, VERIFY_KIND_CONVERSATION, false},
    {cut_chunk, VERIFY_KIND_ROW, false},
    {move_chunk, VERIFY_KIND_ROW_PLACE, false},
    {chunk_in_another_month, VERIFY_KIND_ROW_PLACE, false},
    {id_twice, VERIFY_KIND_MESSAGE_ID, false},
    {body_changed, VERIFY_KIND_MESSAGE_LOG, false},
    {lose_conversation, VERIFY_KIND_ORPHAN, false},
    {cut_conversation, VERIFY_KIND_ROW, false},
    {conversation_elsewhere, VERIFY_KIND_ROW_PLACE, false},
    {lose_dedup, VERIFY_KIND_DEDUP_MISSING, false},
    {dedup_points_elsewhere, VERIFY_KIND_DEDUP_WRONG, false},
    {dedup_of_another_command, VERIFY_KIND_DEDUP_WRONG, false},
    {lose_filter, VERIFY_KIND_FILTER, true},
    {filter_tag_changed, VERIFY_KIND_FILTER, true},
    {lose_page, VERIFY_KIND_PAGE_MISSING, false},
    {page_too_many, VERIFY_KIND_MEMBER, false},
    {lose_member, VERIFY_KIND_MEMBER_COUNT, false},
    {lose_list_row, VERIFY_KIND_MEMBERSHIP_MISSING, true},
    {list_row_too_many, VERIFY_KIND_MEMBERSHIP_EXTRA, true},
    {list_row_of_another_event, VERIFY_KIND_MEMBERSHIP_WRONG, true},
    {offset_unreadable, VERIFY_KIND_OFFSET, true},
    {cut_user, VERIFY_KIND_ROW, false},
    {user_elsewhere, VERIFY_KIND_ROW_PLACE, false},
    {lose_large, VERIFY_KIND_LARGE, true},
    {large_too_many, VERIFY_KIND_LARGE, true},
    {unknown_row, VERIFY_KIND_UNKNOWN_ROW, false},
    {flip_in_table, VERIFY_KIND_STORE_READ, false},
    {flip_in_manifest, VERIFY_KIND_STORE_OPEN, true},
    {lose_store, VERIFY_KIND_STORE_MISSING, true},
    {flip_identity, VERIFY_KIND_FOLDER, false},
    {lose_shard, VERIFY_KIND_SHARD_MISSING, false},
};

static void each_damage_is_found_and_named(void **state)
{
    (void)state;
    struct told told;
    for (size_t i = 0; i < PARLEY_ARRAY_COUNT(damages); i++) {
        const struct damage *d = &damages[i];
        char before[64], after[64];
        copy_to_work("clean");
        d->make();
        print_tree(before, sizeof before);
        struct verify_report report = look(&told, false, true);
        print_tree(after, sizeof after);
        assert_string_equal(before, after);
        if (report.counts[d->kind] == 0)
            fail_msg("damage %zu: %s was not found, but:\n%s", i, verify_kind_name(d->kind), told.text);
    }
}

static struct conversation *stored_chat(int i)
{
    struct found_row *row = read_row(home[i], STORE_CONVERSATIONS, of(&chats[i]), 0);
    struct conversation *c;
    struct dedup_options all = {UINT64_MAX, 1000};
    assert_int_equal(conversation_decode(&chats[i], &all, (struct span){row->value, row->len}, &c), 0);
    free(row->value);
    return c;
}

/* As far as the store knows; 0: it knows nothing yet. */
static uint64_t last_id_of_chat(int i)
{
    struct store *store = open_store(home[i]);
    uint8_t *value = NULL;
    size_t len;
    int err =
        store_get(store, (struct store_key){STORE_CONVERSATIONS, 0, of(&chats[i])}, STORE_ALL, &value, &len);
    memory_free(value);
    store_close(&store);
    if (err)
        return 0;
    struct conversation *c = stored_chat(i);
    uint64_t id = c->applied.last_event_id;
    conversation_destroy(&c);
    return id;
}

/* Repaired, a server starts on it and goes on above all that was. */
static void go_on(void)
{
    uint64_t last_id = last_id_of_chat(1);
    struct world *w = world_open(work);
    w->next_client_id = 100000;
    world_send(w, &chats[1], 1);
    assert_true(w->last_id > last_id);
    world_change(w, COMMAND_ADD, &chats[1], "newcomer");
    world_close(w);
    expect_clean();
}

static void what_can_be_repaired_is(void **state)
{
    (void)state;
    struct told told;
    for (size_t i = 0; i < PARLEY_ARRAY_COUNT(damages); i++) {
        const struct damage *d = &damages[i];
        if (!d->repairable)
            continue;
        copy_to_work("clean");
        d->make();
        struct verify_report report = look(&told, true, false);
        if (total(&report) || told.ever[d->kind] == 0)
            fail_msg("damage %zu: %s is not repaired:\n%s", i, verify_kind_name(d->kind), told.text);
        expect_clean();
        if (d->kind == VERIFY_KIND_LOG_DAMAGED || d->kind == VERIFY_KIND_STORE_OPEN)
            go_on();
    }
}

static void what_cannot_be_repaired_is_left_and_told(void **state)
{
    (void)state;
    struct told told;
    for (size_t i = 0; i < PARLEY_ARRAY_COUNT(damages); i++) {
        const struct damage *d = &damages[i];
        if (d->repairable)
            continue;
        copy_to_work("clean");
        d->make();
        struct verify_report report = look(&told, true, false);
        if (report.counts[d->kind] == 0)
            fail_msg("damage %zu: %s is gone after a repair:\n%s", i, verify_kind_name(d->kind), told.text);
    }
}

/* After a kill the log alone has the newest: what is good of it survives. */
static void a_repair_keeps_what_the_log_alone_has(void **state)
{
    (void)state;
    struct told told;
    copy_to_work("killed");
    derived_beyond_log();
    struct verify_report report = look(&told, true, false);
    if (total(&report))
        fail_msg("not repaired:\n%s", told.text);
    assert_true(told.ever[VERIFY_KIND_LOG_SHORT] > 0);
    for (int i = 0; i < CONVERSATIONS; i++) {
        if (home[i] != 1) /* the log of the other goes on, and has it */
            continue;
        struct conversation *c = stored_chat(i);
        assert_int_equal(c->applied.last_seq, i ? 80 : 270);
        conversation_destroy(&c);
    }
    go_on();
}

/* The store lacks what it says that it has: a replay cannot go on from there. */
static void a_replay_that_does_not_follow_is_told(void **state)
{
    (void)state;
    struct told told;
    copy_to_work("killed");
    delete (home[1], read_row(home[1], STORE_CONVERSATIONS, of(&chats[1]), 0));
    struct verify_report report = look(&told, false, false);
    assert_true(report.counts[VERIFY_KIND_LOG_REPLAY] > 0);
    report = look(&told, true, false); /* its rows stay, and are told of; the server starts */
    assert_int_equal(report.counts[VERIFY_KIND_LOG_REPLAY], 0);
    assert_true(report.counts[VERIFY_KIND_ORPHAN] > 0);
    world_close(world_open(work));
}

/* The epoch tells clients that what they know of before means nothing. */
static void a_new_log_raises_the_epoch_and_keeps_the_old(void **state)
{
    (void)state;
    struct told told;
    struct data_folder after;
    char text[DATA_FOLDER_TEXT_BYTES], command[PATH_BYTES];
    copy_to_work("clean");
    flip_in_log();
    look(&told, true, false);
    assert_int_equal(data_folder_look(work, false, &after, text), 0);
    assert_int_equal(after.epoch, 2);
    data_folder_close(&after);
    snprintf(command, sizeof command,
             "ls %s/shard-%04u/log/*.seg.damaged %s/shard-%04u/log/mark.damaged >/dev/null", work, home[0],
             work, home[0]);
    assert_int_equal(system(command), 0);
}

/* A log that does not reach back to the redo: the store was put back from before. */
static void a_gap_before_the_log_is_found(void **state)
{
    (void)state;
    struct told told;
    copy_to_work("clean");
    flip_in_log();
    look(&told, true, false); /* the log begins late now */
    struct found_row *row = read_row(home[0], STORE_META, position_key, 0);
    uint64_t redo = htole64(1);
    memcpy(row->value + 1, &redo, sizeof redo);
    put_back(home[0], row);
    struct verify_report report = look(&told, false, false);
    assert_true(report.counts[VERIFY_KIND_LOG_GAP] > 0);
    report = look(&told, true, false);
    assert_int_equal(total(&report), 0);
    go_on();
}

static void a_folder_that_is_served_is_not_looked_at(void **state)
{
    (void)state;
    struct verify_summary summary;
    struct data_folder held;
    char text[VERIFY_TEXT_BYTES], why[DATA_FOLDER_TEXT_BYTES];
    struct verify_options options = {.dir = work};
    struct verify_report report = {.on_finding = on_finding};
    copy_to_work("clean");
    assert_int_equal(data_folder_open(work, 0, 1, &held, why), 0);
    assert_int_equal(verify_folder(&options, &report, &summary, text), -PARLEY_ERR_FULL);
    assert_non_null(strstr(text, "another parleyd"));
    data_folder_close(&held);
    options.dir = base; /* is none */
    assert_int_equal(verify_folder(&options, &report, &summary, text), -PARLEY_ERR_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_clean_folder_has_nothing_to_tell_and_is_not_written),
        cmocka_unit_test(a_killed_server_leaves_nothing_to_tell),
        cmocka_unit_test(each_damage_is_found_and_named),
        cmocka_unit_test(what_can_be_repaired_is),
        cmocka_unit_test(what_cannot_be_repaired_is_left_and_told),
        cmocka_unit_test(a_repair_keeps_what_the_log_alone_has),
        cmocka_unit_test(a_replay_that_does_not_follow_is_told),
        cmocka_unit_test(a_new_log_raises_the_epoch_and_keeps_the_old),
        cmocka_unit_test(a_gap_before_the_log_is_found),
        cmocka_unit_test(a_folder_that_is_served_is_not_looked_at),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
