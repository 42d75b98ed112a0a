/* Each kind of damage is found and named, what can be repaired is, and a clean folder has nothing to tell. */
#include "tests/unit/verify_bed.h"

static void looked_at_it_is_not_written(const char *name)
{
    char before[64], after[64];
    copy_to_work(name);
    print_tree(before);
    expect_clean();
    print_tree(after);
    assert_string_equal(before, after);
}

static void a_clean_folder_has_nothing_to_tell_and_is_not_written(void **state)
{
    (void)state;
    looked_at_it_is_not_written("clean");
}

static void a_killed_server_leaves_nothing_to_tell(void **state)
{
    (void)state;
    looked_at_it_is_not_written("killed");
}

/* ---- logs */

static void cut_log(void)
{
    char path[PATH_BYTES];
    find_segment(home[0], path);
    assert_int_equal(truncate(path, 9 * 4096), 0);
}

static void remove_in_log(const char *name)
{
    shell("rm -r %s/shard-%04u/log%s", work, home[0], name);
}

static void lose_mark(void)
{
    remove_in_log("/mark");
}

static void lose_segments(void)
{
    remove_in_log("/*.seg");
}

static void lose_log(void)
{
    remove_in_log("");
}

static void empty_log(void)
{
    remove_in_log("/*");
}

static void flip_mark(void)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%s/shard-%04u/log/mark", work, home[0]);
    flip(path, 8);
    flip(path, 4096 + 8);
}

/* What a command of a user would have become, were it not wrong. */
static struct event event_of(enum event_kind kind, const char *user, const char *client_id)
{
    struct event e = {.kind = kind,
                      .time_ms = 2500000000000ull,
                      .conversation = chats[0],
                      .actor = words(user),
                      .client_id = words(client_id)};
    struct world w = {.folder.key = folder_key};
    struct hasher hasher = {&w, hash_callback};
    e.fingerprint = machine_fingerprint(&hasher, e.actor, e.client_id);
    return e;
}

static void log_with_foreign_event(void)
{
    uint8_t record[] = {EVENT_KIND_END, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    append_record(home[0], record, sizeof record, 0);
}

static void log_with_wrong_fingerprint(void)
{
    struct event e = event_of(EVENT_FENCED, "ann", "wrong");
    e.fingerprint.bytes[0] ^= 1;
    append_event(home[0], e);
}

static void receipt_in_log_of_no_message(void)
{
    struct event e = event_of(EVENT_RECEIPT, "user2", "");
    e.target = words("user2");
    e.target_hash = hash_128(&folder_key, "user2", 5);
    e.read_seq = 10;
    e.delivered_seq = 9999;
    append_event(home[0], e);
}

static void receipt_in_log_takes_back(void)
{
    struct event e = event_of(EVENT_RECEIPT, "user1", "");
    e.target = words("user1");
    e.target_hash = hash_128(&folder_key, "user1", 5);
    e.read_seq = 50;
    e.delivered_seq = 60;
    append_event(home[0], e);
}

/* ---- positions */

static void move_max_position(uint64_t by)
{
    struct found_row *row = position_row();
    uint64_t max;
    memcpy(&max, row->value + 9, sizeof max);
    max = htole64(le64toh(max) + by);
    memcpy(row->value + 9, &max, sizeof max);
    put_back(home[0], row);
}

static void store_ahead_of_log(void)
{
    move_max_position(1000);
}

static void max_position_too_low(void)
{
    move_max_position(-UINT64_C(100));
}

static void max_position_absurd(void)
{
    struct found_row *row = position_row();
    memset(row->value + 9, 0xff, 8);
    put_back(home[0], row);
}

static void position_unreadable(void)
{
    struct found_row *row = position_row();
    row->len = 5;
    put_back(home[0], row);
}

/* ---- messages */

static struct found_row *chunk_row_of(uint32_t nth)
{
    return read_row(home[0], STORE_MESSAGES, of(&chats[0]), nth);
}

static void lose_chunk(void)
{
    delete_row(home[0], chunk_row_of(1));
}

static void lose_newest_chunk(void)
{
    delete_row(home[0], chunk_row_of(0));
}

static void cut_chunk(void)
{
    struct found_row *row = chunk_row_of(1);
    row->len -= 3;
    put_back(home[0], row);
}

static void move_chunk(void)
{
    struct found_row *row = chunk_row_of(1);
    write_row(home[0], row->at, NULL);
    row->key[23] ^= 1;
    put_back(home[0], row);
}

static void chunk_in_another_month(void)
{
    struct found_row *row = chunk_row_of(3);
    write_row(home[0], row->at, NULL);
    row->at.month--;
    put_back(home[0], row);
}

/* The second message of a chunk gets the id of the first: length and kind, then the id. */
static void id_twice(void)
{
    struct found_row *row = chunk_row_of(1);
    struct bytes_reader r = bytes_reader_of(row->value, row->len);
    struct span first = bytes_get_span(&r), second = bytes_get_span(&r);
    assert_false(r.failed);
    memcpy(row->value + (second.data - row->value) + 1, first.data + 1, 8);
    put_back(home[0], row);
}

static void body_changed(void)
{
    struct found_row *row = chunk_row_of(0);
    row->value[row->len - 1] ^= 1;
    put_back(home[0], row);
}

/* ---- conversations */

static void lose_conversation(void)
{
    delete_row(home[1], conversation_row(1));
}

static void cut_conversation(void)
{
    struct found_row *row = conversation_row(1);
    row->len -= 1;
    put_back(home[1], row);
}

static void conversation_elsewhere(void)
{
    put_back(1 - home[1], conversation_row(1));
}

/* The row ends with its senders: a count, then tag and seq of each. */
static void another_last_sender(void)
{
    struct found_row *row = conversation_row(1);
    row->value[row->len - 1] -= 1;
    put_back(home[1], row);
}

/* ---- dedup */

static void lose_dedup(void)
{
    delete_row(home[0], read_row(home[0], STORE_DEDUP, of(&chats[0]), 1));
}

static void change_entry(uint32_t row_at, uint32_t entry, size_t byte)
{
    struct found_row *row = read_row(home[0], STORE_DEDUP, of(&chats[0]), row_at);
    assert_true((entry + 1) * DEDUP_ENTRY_BYTES <= row->len);
    row->value[(size_t)entry * DEDUP_ENTRY_BYTES + byte] ^= 1;
    put_back(home[0], row);
}

enum { ENTRY_FINGERPRINT = 0, ENTRY_PAYLOAD = 16, ENTRY_ID = 24, ENTRY_SEQ = 32 };

static void dedup_points_elsewhere(void)
{
    change_entry(1, 5, ENTRY_SEQ);
}

static void dedup_of_another_command(void)
{
    change_entry(1, 5, ENTRY_FINGERPRINT);
}

/* The newest entry is the fence's: nothing came behind it that has one. */
static uint32_t fence_entry(void)
{
    struct found_row *row = read_row(home[0], STORE_DEDUP, of(&chats[0]), 0);
    uint32_t last = (uint32_t)(row->len / DEDUP_ENTRY_BYTES) - 1;
    assert_int_equal(row->value[(size_t)last * DEDUP_ENTRY_BYTES + 40], EVENT_FENCED);
    free(row->value);
    return last;
}

static void fence_of_another_payload(void)
{
    change_entry(0, fence_entry(), ENTRY_PAYLOAD);
}

static void fence_of_another_event(void)
{
    change_entry(0, fence_entry(), ENTRY_ID);
}

static void removal_of_another_payload(void) /* fence, role, add, remove */
{
    change_entry(0, fence_entry() - 3, ENTRY_PAYLOAD);
}

static void same_command_twice(void)
{
    struct found_row *row = read_row(home[0], STORE_DEDUP, of(&chats[0]), 0);
    uint8_t *last = row->value + row->len - DEDUP_ENTRY_BYTES;
    memcpy(last, last - DEDUP_ENTRY_BYTES, 16);
    put_back(home[0], row);
}

static struct found_row *filter_row(void)
{
    return read_row(home[0], STORE_FILTERS, of(&chats[0]), 0);
}

static void lose_filter(void)
{
    delete_row(home[0], filter_row());
}

static void filter_tag_changed(void)
{
    struct found_row *row = filter_row();
    row->value[18 + 4 * 5] ^= 1;
    put_back(home[0], row);
}

static void lose_filter_and_dedup(void)
{
    lose_filter();
    lose_dedup();
}

/* ---- members */

static struct found_row *page_row(void)
{
    return read_row(home[0], STORE_MEMBERS, of(&chats[0]), 0);
}

static void lose_page(void)
{
    delete_row(home[0], page_row());
}

static void page_too_many(void)
{
    struct found_row *row = page_row();
    row->key[19] = 7;
    put_back(home[0], row);
}

static void change_page(void (*change)(struct page_members *members))
{
    struct found_row *row = page_row();
    struct page *page;
    assert_int_equal(page_decode(&chats[0], 0, (struct span){row->value, row->len}, &page), 0);
    uint32_t count = page->applied->count;
    change(page->applied);
    struct bytes_writer w = bytes_writer_of(row->value, row->len + 64);
    page_encode(page, &w);
    assert_false(w.failed);
    row->len = bytes_writer_len(&w);
    page->applied->count = count;
    page_destroy(&page);
    put_back(home[0], row);
}

static void without_the_last(struct page_members *members)
{
    members->count--;
}

static void lose_member(void)
{
    change_page(without_the_last);
}

static struct member *member_named(struct page_members *members, const char *user)
{
    struct id16 hash = hash_128(&folder_key, user, strlen(user));
    for (uint32_t i = 0; i < members->count; i++)
        if (memcmp(&members->list[i].hash, &hash, sizeof hash) == 0)
            return &members->list[i];
    fail_msg("%s is no member", user);
    return NULL;
}

static void reads_what_is_not_there(struct page_members *members)
{
    struct member *m = member_named(members, "user4");
    m->read_seq = m->delivered_seq = 201;
}

static void receipt_above_last_message(void)
{
    change_page(reads_what_is_not_there);
}

static void has_read_less(struct page_members *members)
{
    struct member *m = member_named(members, "user1");
    assert_int_equal(m->read_seq, 120);
    m->read_seq = 119;
}

static void receipt_taken_back(void)
{
    change_page(has_read_less);
}

static void has_got_less(struct page_members *members)
{
    struct member *m = member_named(members, "user2");
    assert_int_equal(m->delivered_seq, 7);
    m->delivered_seq = 0;
}

static void delivery_forgotten(void)
{
    change_page(has_got_less);
}

/* ---- derived rows */

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
    delete_row(shard, row);
}

static void list_row_too_many(void)
{
    uint32_t shard;
    struct found_row *row = list_row("user2", &shard);
    row->key[31] ^= 1;
    put_back(shard, row);
}

static void list_row_of_who_left(void) /* user3 left chats[0] */
{
    uint32_t shard;
    struct found_row *row = list_row("user3", &shard);
    memcpy(row->key + 16, &chats[0], 16);
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

static void offset_absurd(void)
{
    struct found_row *row = offset_row(1);
    memset(row->value, 0xff, row->len);
    put_back(0, row);
}

static const struct span large_key = {(const uint8_t *)"large", 5};

static void lose_large(void)
{
    delete_row(0, read_row(0, STORE_META, large_key, 0));
}

static void large_too_many(void)
{
    struct found_row *row = read_row(0, STORE_META, large_key, 0);
    memcpy(row->key + 5, &chats[0], 16);
    put_back(0, row);
}

static void large_unreadable(void)
{
    struct found_row *row = read_row(0, STORE_META, large_key, 0);
    row->key[5] ^= 1;
    row->value[0] += 1;
    put_back(0, row);
}

/* ---- users and the rest */

static struct found_row *user_row(uint32_t *shard)
{
    struct id16 hash = hash_128(&folder_key, "ann", 3);
    *shard = hash_shard(&folder_key, &hash, SHARDS);
    return read_row(*shard, STORE_USERS, of(&hash), 0);
}

static void cut_user(void)
{
    uint32_t shard;
    struct found_row *row = user_row(&shard);
    row->len -= 2;
    put_back(shard, row);
}

static void user_elsewhere(void)
{
    uint32_t shard;
    struct found_row *row = user_row(&shard);
    put_back(1 - shard, row);
}

static void unknown_row(void)
{
    struct span value = {(const uint8_t *)"x", 1};
    write_row(0, (struct store_key){STORE_META, 0, {(const uint8_t *)"what", 4}}, &value);
}

/* ---- stores and the folder */

static void flip_in_table(void) /* in its first block */
{
    char path[PATH_BYTES];
    shell_says(path, sizeof path, "ls -S %s/shard-%04u/store/*.sst | head -1", work, home[0]);
    flip(path, 300);
}

static void flip_in_manifest(void)
{
    flip_in_manifest_of(home[0]);
}

static void store_is_no_folder(void)
{
    shell("rm -r %s/shard-%04u/store && touch %s/shard-%04u/store", work, home[0], work, home[0]);
}

static void lose_tables(void)
{
    shell("rm %s/shard-%04u/store/*.sst", work, home[0]);
}

static void lose_current(void)
{
    shell("rm %s/shard-%04u/store/CURRENT", work, home[0]);
}

static void flip_identity(void)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%s/identity", work);
    flip(path, 12);
}

static void lose_shard(void)
{
    shell("rm -r %s/shard-%04u", work, home[0]);
}

static void lose_store(void)
{
    shell("rm -r %s/shard-%04u/store", work, home[0]);
}

enum outcome {
    STAYS,    /* a repair leaves it, and it is told */
    REPAIRED, /* then nothing is left to tell */
    SERVED    /* and a server goes on with it */
};

static const struct damage {
    const char *name;
    void (*make)(void);
    enum verify_kind kind;
    enum outcome outcome;
} damages[] = {
#define DAMAGE(make, kind, outcome)                                                                          \
    {                                                                                                        \
#make, make, VERIFY_KIND_##kind, outcome                                                             \
    }
    DAMAGE(flip_in_log, LOG_DAMAGED, SERVED),
    DAMAGE(cut_log, LOG_DAMAGED, REPAIRED),
    DAMAGE(lose_mark, LOG_LOST, REPAIRED),
    DAMAGE(flip_mark, LOG_DAMAGED, REPAIRED),
    DAMAGE(lose_segments, LOG_LOST, REPAIRED),
    DAMAGE(lose_log, LOG_LOST, SERVED),
    DAMAGE(empty_log, LOG_LOST, REPAIRED),
    DAMAGE(log_with_foreign_event, LOG_EVENT, STAYS),
    DAMAGE(log_with_wrong_fingerprint, LOG_EVENT, STAYS),
    DAMAGE(store_ahead_of_log, LOG_SHORT, REPAIRED),
    DAMAGE(derived_beyond_log, LOG_SHORT, REPAIRED),
    DAMAGE(max_position_too_low, POSITION, REPAIRED),
    DAMAGE(max_position_absurd, POSITION, REPAIRED),
    DAMAGE(position_unreadable, POSITION, REPAIRED),
    DAMAGE(lose_chunk, MESSAGE_SEQ, STAYS),
    DAMAGE(lose_newest_chunk, CONVERSATION, STAYS),
    DAMAGE(cut_chunk, ROW, STAYS),
    DAMAGE(move_chunk, ROW_PLACE, STAYS),
    DAMAGE(chunk_in_another_month, ROW_PLACE, STAYS),
    DAMAGE(id_twice, MESSAGE_ID, STAYS),
    DAMAGE(body_changed, MESSAGE_LOG, STAYS),
    DAMAGE(lose_conversation, ORPHAN, STAYS),
    DAMAGE(cut_conversation, ROW, STAYS),
    DAMAGE(conversation_elsewhere, ROW_PLACE, STAYS),
    DAMAGE(another_last_sender, SENDERS, STAYS),
    DAMAGE(lose_dedup, DEDUP_MISSING, STAYS),
    DAMAGE(dedup_points_elsewhere, DEDUP_WRONG, STAYS),
    DAMAGE(dedup_of_another_command, DEDUP_WRONG, STAYS),
    DAMAGE(fence_of_another_payload, DEDUP_WRONG, STAYS),
    DAMAGE(fence_of_another_event, DEDUP_MISSING, STAYS),
    DAMAGE(removal_of_another_payload, DEDUP_WRONG, STAYS),
    DAMAGE(same_command_twice, DEDUP_WRONG, STAYS),
    DAMAGE(lose_filter, FILTER, REPAIRED),
    DAMAGE(filter_tag_changed, FILTER, REPAIRED),
    DAMAGE(lose_filter_and_dedup, FILTER_LOST, STAYS),
    DAMAGE(lose_page, PAGE_MISSING, STAYS),
    DAMAGE(page_too_many, MEMBER, STAYS),
    DAMAGE(lose_member, MEMBER_COUNT, STAYS),
    DAMAGE(receipt_above_last_message, RECEIPT, STAYS),
    DAMAGE(receipt_taken_back, RECEIPT, STAYS),
    DAMAGE(delivery_forgotten, RECEIPT, STAYS),
    DAMAGE(receipt_in_log_of_no_message, RECEIPT, STAYS),
    DAMAGE(receipt_in_log_takes_back, RECEIPT, STAYS),
    DAMAGE(lose_list_row, MEMBERSHIP_MISSING, REPAIRED),
    DAMAGE(list_row_too_many, MEMBERSHIP_EXTRA, REPAIRED),
    DAMAGE(list_row_of_who_left, MEMBERSHIP_EXTRA, REPAIRED),
    DAMAGE(list_row_of_another_event, MEMBERSHIP_WRONG, REPAIRED),
    DAMAGE(offset_unreadable, OFFSET, REPAIRED),
    DAMAGE(offset_absurd, OFFSET, REPAIRED),
    DAMAGE(cut_user, ROW, STAYS),
    DAMAGE(user_elsewhere, ROW_PLACE, STAYS),
    DAMAGE(lose_large, LARGE, REPAIRED),
    DAMAGE(large_too_many, LARGE, REPAIRED),
    DAMAGE(large_unreadable, LARGE, REPAIRED),
    DAMAGE(unknown_row, UNKNOWN_ROW, STAYS),
    DAMAGE(flip_in_table, STORE_READ, STAYS),
    DAMAGE(flip_in_manifest, STORE_OPEN, SERVED),
    DAMAGE(lose_tables, STORE_OPEN, REPAIRED),
    DAMAGE(lose_current, STORE_OPEN, REPAIRED),
    DAMAGE(store_is_no_folder, STORE_OPEN, STAYS),
    DAMAGE(lose_store, STORE_MISSING, SERVED),
    DAMAGE(flip_identity, FOLDER, STAYS),
    DAMAGE(lose_shard, SHARD_MISSING, STAYS),
};

/* A look finds it, and writes nothing; a repair does what is said of it. */
static void each_damage_is_found_named_and_repaired_if_it_can_be(void **state)
{
    (void)state;
    struct told told;
    for (size_t i = 0; i < PARLEY_ARRAY_COUNT(damages); i++) {
        const struct damage *d = &damages[i];
        char before[64], after[64];
        copy_to_work("clean");
        d->make();
        print_tree(before);
        struct verify_report report = look(&told, LOOK);
        if (report.counts[d->kind] == 0)
            fail_msg("%s: %s was not found, but:\n%s", d->name, verify_kind_name(d->kind), told.text);
        print_tree(after);
        assert_string_equal(before, after);
        bool can_do_nothing = verify_report_count(&report, VERIFY_DERIVED) == 0 && d->outcome == STAYS;
        uint64_t ceiling = d->outcome == SERVED ? log_of(home[1]).ceiling : 0;
        report = look(&told, REPAIR);
        if (d->outcome == STAYS ? report.counts[d->kind] == 0 : total(&report) > 0)
            fail_msg("%s: after the repair there is:\n%s", d->name, told.text);
        print_tree(after);
        if (can_do_nothing)
            assert_string_equal(before, after);
        if (d->outcome == SERVED)
            go_on(1, ceiling);
    }
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
        cmocka_unit_test(each_damage_is_found_named_and_repaired_if_it_can_be),
        cmocka_unit_test(a_folder_that_is_served_is_not_looked_at),
    };
    return cmocka_run_group_tests(tests, bed_set_up, bed_tear_down);
}
