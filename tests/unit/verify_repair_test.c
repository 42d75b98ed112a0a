/* Repairs: they say what is lost, keep what they replace, may be stopped anywhere, and offer only what they can do. */
#include "tests/lib/step_file.h"
#include "tests/unit/verify_bed.h"

/* ---- what is put aside stays */

/* Of all that is put aside, with the bytes. */
static void print_aside(char out[64])
{
    put_down();
    shell_says(out, 64,
               "cd %s && find . -path '*.damaged*' -type f ! -name LOCK -exec md5sum {} + | sort | md5sum",
               work);
}

static void expect_aside(const char *pattern, uint32_t shard)
{
    shell("ls -d %s/shard-%04u/%s >%s/listed", work, shard, pattern, base);
}

static void any_number_of_logs_is_put_aside(void **state)
{
    (void)state;
    struct told told;
    char before[64], after[64];
    copy_to_work("clean");
    for (uint32_t i = 1; i <= 3; i++) {
        char mark[PATH_BYTES], suffix[16] = "";
        snprintf(mark, sizeof mark, "%s/shard-%04u/log/mark", work, home[0]);
        flip(mark, 8); /* one of the two slots may be empty */
        flip(mark, 4096 + 8);
        shell_says(before, sizeof before, "md5sum <%s", mark);
        if (i > 1)
            snprintf(suffix, sizeof suffix, ".%u", i);
        expect_repaired(&told);
        shell_says(after, sizeof after, "md5sum <%s.damaged%s", mark, suffix);
        assert_string_equal(before, after);
    }
    expect_aside("log/*.seg.damaged.3", home[0]);
    print_aside(before);
    flip_in_log_of(home[0], 0);
    expect_repaired(&told);
    expect_aside("log/mark.damaged.4", home[0]);
    shell("rm %s/shard-%04u/log/*.damaged.4", work, home[0]);
    print_aside(after);
    assert_string_equal(before, after);
    go_on(0, 0);
}

static void any_number_of_stores_is_put_aside(void **state)
{
    (void)state;
    struct told told;
    char before[64], after[64];
    copy_to_work("clean");
    for (uint32_t i = 1; i <= 3; i++) {
        char suffix[16] = "";
        flip_in_manifest_of(home[0]);
        shell_says(before, sizeof before, "cd %s/shard-%04u/store && md5sum * | md5sum", work, home[0]);
        if (i > 1)
            snprintf(suffix, sizeof suffix, ".%u", i);
        expect_repaired(&told);
        world_close(world_open(work)); /* which fills it */
        shell_says(after, sizeof after, "cd %s/shard-%04u/store.damaged%s && md5sum * | md5sum", work,
                   home[0], suffix);
        assert_string_equal(before, after);
    }
    put_down();
    assert_int_equal(last_seq_of_chat(0), 200);
    expect_aside("store.damaged.3", home[0]);
    go_on(0, 0);
}

/* ---- what is lost is told */

static struct rows_position stored_position(void)
{
    struct rows_position position;
    assert_int_equal(rows_load_position(store_of(home[0]), STORE_ALL, &position), 0);
    return position;
}

/* Plain looking says the same as the repair that follows it. */
static void repair_as_foretold(struct told *told)
{
    struct told before;
    look(&before, LOOK);
    expect_repaired_with_losses(told);
    assert_int_equal(before.loss_count, told->loss_count);
    for (uint32_t i = 0; i < told->loss_count; i++) {
        assert_true(!before.losses[i].done && told->losses[i].done);
        assert_int_equal(before.losses[i].first, told->losses[i].first);
        assert_int_equal(before.losses[i].last, told->losses[i].last);
        assert_int_equal(before.losses[i].events, told->losses[i].events);
        assert_int_equal(before.losses[i].id_first, told->losses[i].id_first);
        assert_int_equal(before.losses[i].id_last, told->losses[i].id_last);
    }
}

static void what_the_store_has_is_not_called_lost(void **state)
{
    (void)state;
    struct told told;
    copy_to_work("clean");
    flip_in_log();
    repair_as_foretold(&told);
    assert_int_equal(told.loss_count, 0);
    assert_int_equal(last_seq_of_chat(0), 200);
}

/* All behind the damage that the store may not have: not less, and not what it has for sure. */
static void what_a_damaged_log_had_alone_is_called_lost(void **state)
{
    (void)state;
    struct told told;
    copy_to_work("killed");
    struct rows_position position = stored_position();
    struct log_report log = log_of(home[0]);
    assert_true(position.redo < log.end);
    flip_in_log();
    repair_as_foretold(&told);
    assert_int_equal(told.loss_count, 1);
    assert_int_equal(told.losses[0].shard, home[0]);
    assert_int_equal(told.losses[0].first, position.redo);
    assert_int_equal(told.losses[0].last, log.end - 1);
    assert_int_equal(told.losses[0].id_last, log.seen_ceiling);
    uint64_t kept = last_seq_of_chat(0);
    assert_true(kept >= 200 && kept < 270);
    assert_true(told.losses[0].events >= 270 - kept);
    go_on(0, log.seen_ceiling);
}

/* The events are in the log, but their conversation is not in the store: they go with the log, and are counted. */
static void what_does_not_follow_is_called_lost(void **state)
{
    (void)state;
    struct told told;
    copy_to_work("killed");
    struct log_report log = log_of(home[1]);
    delete_row(home[1], conversation_row(1));
    struct verify_report report = look(&told, LOOK);
    assert_true(report.counts[VERIFY_KIND_LOG_REPLAY] > 0);
    assert_int_equal(told.loss_count, 1);
    struct verify_loss foretold = told.losses[0];
    report = look(&told, REPAIR); /* its rows stay, and are told of; the server starts */
    assert_int_equal(report.counts[VERIFY_KIND_LOG_REPLAY], 0);
    assert_true(report.counts[VERIFY_KIND_ORPHAN] > 0);
    assert_int_equal(told.loss_count, 1);
    assert_int_equal(told.losses[0].events, 70);
    assert_int_equal(told.losses[0].events, foretold.events);
    assert_int_equal(snowflake_shard(told.losses[0].id_first), home[1]);
    assert_true(told.losses[0].id_first < told.losses[0].id_last && told.losses[0].id_last <= log.ceiling);
    assert_true(told.losses[0].first < told.losses[0].last && told.losses[0].last < log.end);
    put_down();
    world_close(world_open(work));
}

/* The same of a row that cannot be read, when the log has to begin again for another reason. */
static void what_cannot_be_applied_is_called_lost(void **state)
{
    (void)state;
    struct told told;
    copy_to_work("killed");
    struct found_row *row = conversation_row(1);
    row->len -= 1;
    put_back(home[1], row);
    row = read_row(1 - home[1], STORE_META, (struct span){(const uint8_t *)"derived", 7}, home[1]);
    assert_int_equal(row->key[10], home[1]);
    row->value[2] += 1; /* derived further than the log goes */
    put_back(1 - home[1], row);
    look(&told, REPAIR);
    assert_true(told.ever[VERIFY_KIND_LOG_SHORT] > 0);
    assert_int_equal(told.loss_count, 2);
    assert_int_equal(told.losses[0].events, 70);
    struct log_report log = log_of(home[1]);
    assert_int_equal(told.losses[1].last, log.start - 1);
}

/* A log that does not reach back to the redo: the store was put back from before. */
static void a_gap_before_the_log_is_called_lost(void **state)
{
    (void)state;
    struct told told;
    copy_to_work("clean");
    flip_in_log();
    expect_repaired(&told); /* the log begins late now */
    struct log_report log = log_of(home[0]);
    struct found_row *row = position_row();
    uint64_t redo = htole64(10);
    memcpy(row->value + 1, &redo, sizeof redo);
    put_back(home[0], row);
    repair_as_foretold(&told);
    assert_true(told.ever[VERIFY_KIND_LOG_GAP] > 0);
    assert_int_equal(told.loss_count, 1);
    assert_int_equal(told.losses[0].first, 10);
    assert_int_equal(told.losses[0].last, log.start - 1);
    go_on(0, log.seen_ceiling);
}

/* After a kill the log alone has the newest: what is good of it survives. */
static void a_repair_keeps_what_the_log_alone_has(void **state)
{
    (void)state;
    struct told told;
    copy_to_work("killed");
    struct found_row *row = read_row(0, STORE_META, (struct span){(const uint8_t *)"derived", 7}, 1);
    row->value[2] += 1;
    put_back(0, row);
    expect_repaired(&told);
    assert_true(told.ever[VERIFY_KIND_LOG_SHORT] > 0);
    for (int i = 0; i < CONVERSATIONS; i++)
        if (home[i] == 1) /* the log of the other goes on, and has it */
            assert_int_equal(last_seq_of_chat(i), i ? 80 : 270);
    go_on(1, 0);
}

/* ---- stopped anywhere, and repeated */

/* Clients begin anew; what they knew of the old log means nothing. */
static uint64_t epoch_of_work(void)
{
    struct data_folder folder;
    char text[DATA_FOLDER_TEXT_BYTES];
    assert_int_equal(data_folder_look(work, false, &folder, text), 0);
    uint64_t epoch = folder.epoch;
    data_folder_close(&folder);
    return epoch;
}

struct watch {
    struct told told; /* first: the callbacks' owner */
    struct step_file *files;
    uint64_t first, last; /* changes that the new log is made of */
};

static void on_mended_watched(void *owner, const char *what)
{
    struct watch *watch = owner;
    on_mended(owner, what);
    if (strstr(what, "epoch"))
        watch->first = watch->files->steps + 1;
    if (strstr(what, "a new log begins"))
        watch->last = watch->files->steps;
}

static void count_changes(struct file_layer *real, struct watch *watch)
{
    struct step_file files;
    struct verify_summary summary;
    char text[VERIFY_TEXT_BYTES];
    struct verify_options options = {.dir = work, .repair = true, .files = &files.base};
    struct verify_report report = {
        .owner = watch, .on_finding = on_finding, .on_loss = on_loss, .on_mended = on_mended_watched};
    step_file_init(&files, real, 0, NULL, NULL);
    *watch = (struct watch){.files = &files};
    put_down();
    assert_int_equal(verify_folder(&options, &report, &summary, text), 0);
    verify_summary_clear(&summary);
    assert_true(watch->first > 0 && watch->last > watch->first + 10);
}

/* storage_log_begin_again_test cuts the power at each change of the log; here it is all the rest that has to go along. */
static void stopped_anywhere_it_is_repeated_above_all_that_was(void **state)
{
    (void)state;
    enum { APART = 4 };
    static struct watch watch;
    struct file_layer *real;
    assert_int_equal(file_layer_uring_create(NULL, &real), 0);
    copy_to_work("killed");
    flip_in_log();
    struct log_report old = log_of(home[0]);
    count_changes(real, &watch);
    for (uint64_t stop = watch.first; stop <= watch.last; stop += APART) {
        struct step_file files;
        struct told told;
        struct verify_report report;
        char text[VERIFY_TEXT_BYTES];
        copy_to_work("killed");
        flip_in_log();
        step_file_init(&files, real, stop, NULL, NULL);
        assert_int_equal(try_look(&told, REPAIR, &files.base, &report, text), -PARLEY_ERR_IO);
        expect_repaired_with_losses(&told);
        struct log_report log = log_of(home[0]);
        assert_true(log.start >= old.seen_end && log.ceiling >= old.seen_ceiling);
        assert_true(epoch_of_work() >= 2);
        go_on(0, old.seen_ceiling);
    }
    file_layer_uring_destroy(&real);
}

/* The log is gone, and so is the conversation's row: ids are in its messages and nowhere else. */
static void ids_of_rows_that_nobody_reads_are_not_given_again(void **state)
{
    (void)state;
    struct told told;
    copy_to_work("clean");
    struct conversation *c = stored_chat(1);
    uint64_t last_id = c->applied.last_message_id;
    conversation_destroy(&c);
    delete_row(home[1], conversation_row(1));
    for (int i = 0; i < CONVERSATIONS; i++) { /* nor elsewhere */
        if (i != 1 && home[i] == home[1])
            delete_row(home[1], conversation_row(i));
    }
    shell("rm -r %s/shard-%04u/log", work, home[1]);
    look(&told, REPAIR);
    assert_true(log_of(home[1]).ceiling > last_id);
}

/* Whoever is damaged so says that no id is left. */
static void ids_that_are_used_up_are_not_begun_again(void **state)
{
    (void)state;
    struct told told;
    struct verify_report report;
    char text[VERIFY_TEXT_BYTES];
    copy_to_work("clean");
    struct found_row *row = read_row(0, STORE_MEMBERSHIPS, (struct span){NULL, 0}, 0);
    struct id16 conversation;
    memcpy(&conversation, row->key + 16, sizeof conversation);
    uint32_t source = hash_shard(&folder_key, &conversation, SHARDS);
    uint64_t id = htole64((UINT64_MAX & ~(UINT64_C(1023) << 12)) | (uint64_t)source << 12);
    memcpy(row->value + 1, &id, sizeof id);
    put_back(0, row);
    flip_in_log_of(source, 5);
    assert_int_equal(try_look(&told, REPAIR, NULL, &report, text), -PARLEY_ERR_LIMIT);
    assert_non_null(strstr(text, "none can be given above"));
}

/* ---- derived rows go only when their source says so */

static uint64_t list_rows(void)
{
    return count_rows(0, STORE_MEMBERSHIPS) + count_rows(1, STORE_MEMBERSHIPS);
}

static void lists_of_a_conversation_that_cannot_be_read_stay(void **state)
{
    (void)state;
    enum { MEMBERS = 7 };
    struct told told;
    for (int missing = 0; missing < 2; missing++) {
        copy_to_work("clean");
        uint64_t before = list_rows();
        struct found_row *row = conversation_row(1);
        row->len -= 1;
        if (missing)
            delete_row(home[1], row);
        else
            put_back(home[1], row);
        struct verify_report report = look(&told, REPAIR);
        if (report.counts[VERIFY_KIND_UNDECIDED] != MEMBERS)
            fail_msg("%d: %s", missing, told.text);
        assert_int_equal(report.counts[VERIFY_KIND_MEMBERSHIP_EXTRA], 0);
        assert_int_equal(list_rows(), before);
    }
}

/* The same of a page that cannot be read. */
static void lists_of_members_that_cannot_be_read_stay(void **state)
{
    (void)state;
    struct told told;
    copy_to_work("clean");
    uint64_t before = list_rows();
    delete_row(home[0], read_row(home[0], STORE_MEMBERS, of(&chats[0]), 0));
    struct verify_report report = look(&told, REPAIR);
    assert_int_equal(report.counts[VERIFY_KIND_UNDECIDED], 7);
    assert_int_equal(report.counts[VERIFY_KIND_PAGE_MISSING], 1);
    assert_int_equal(list_rows(), before);
}

/* What a damaged shard does not know may be what it has lost: only a whole one is believed, and only in another run. */
static void a_damaged_shard_is_not_believed(void **state)
{
    (void)state;
    struct told told;
    copy_to_work("clean");
    struct found_row *row = read_row(0, STORE_MEMBERSHIPS, (struct span){NULL, 0}, 0);
    struct id16 nobody = chats[0];
    while (hash_shard(&folder_key, &nobody, SHARDS) != home[0] || nobody.bytes[15] == chats[0].bytes[15])
        nobody.bytes[15]++;
    memcpy(row->key + 16, &nobody, sizeof nobody);
    put_back(0, row);
    uint64_t before = list_rows();
    flip_in_log();
    struct verify_report report = look(&told, REPAIR);
    if (total(&report) != 1 || report.counts[VERIFY_KIND_UNDECIDED] != 1)
        fail_msg("%s", told.text);
    assert_int_equal(list_rows(), before);
    expect_repaired(&told);
    assert_int_equal(told.ever[VERIFY_KIND_MEMBERSHIP_EXTRA], 1);
    assert_int_equal(list_rows(), before - 1);
}

/* ---- remedies say what really happens */

static void expect_remedy(const struct told *told, enum verify_kind kind, const char *words)
{
    if (!strstr(told->remedy[kind], words))
        fail_msg("%s: %s", verify_kind_name(kind), told->remedy[kind]);
}

/* A repair changes nothing. */
static void expect_no_help(struct told *told)
{
    char before[64], after[64];
    print_tree(before);
    look(told, REPAIR);
    print_tree(after);
    assert_string_equal(before, after);
}

static void lose_store_of(uint32_t shard)
{
    shell("rm -r %s/shard-%04u/store", work, shard);
}

static void without_store_and_beginning_there_is_no_repair(void **state)
{
    (void)state;
    struct told told;
    copy_to_work("clean");
    flip_in_log();
    expect_repaired(&told); /* the log begins late now */
    shell("mv %s %s/late", work, base);
    copy_to_work("late");
    flip_in_manifest_of(home[0]);
    expect_no_help(&told);
    expect_remedy(&told, VERIFY_KIND_STORE_OPEN, "--repair can do nothing");
    assert_int_equal(told.ever[VERIFY_KIND_LOG_GAP], 0);
    copy_to_work("late");
    lose_store_of(home[0]);
    expect_no_help(&told);
    expect_remedy(&told, VERIFY_KIND_STORE_LOST, "--repair can do nothing");
    shell("rm %s/shard-%04u/log/mark", work, home[0]);
    expect_no_help(&told);
    expect_remedy(&told, VERIFY_KIND_LOG_LOST, "--repair can do nothing");
    copy_to_work("late"); /* what is in a store that can be read, but not made again */
    delete_row(home[0], read_row(home[0], STORE_MESSAGES, of(&chats[0]), 1));
    look(&told, LOOK);
    expect_remedy(&told, VERIFY_KIND_MESSAGE_SEQ,
                  "restore a copy of this folder; --repair leaves it as it is");
}

static void what_keeps_a_store_from_being_opened_is_not_its_damage(void **state)
{
    (void)state;
    struct told told;
    copy_to_work("clean");
    shell("rm -r %s/shard-%04u/store && touch %s/shard-%04u/store", work, home[0], work, home[0]);
    expect_no_help(&told);
    expect_remedy(&told, VERIFY_KIND_STORE_OPEN, "mend what the message says");
}

/* The advice is followed to the letter. */
static void a_damaged_row_comes_back_out_of_a_whole_log(void **state)
{
    (void)state;
    struct told told;
    copy_to_work("clean");
    delete_row(home[0], read_row(home[0], STORE_MESSAGES, of(&chats[0]), 1));
    look(&told, LOOK);
    expect_remedy(&told, VERIFY_KIND_MESSAGE_SEQ, "or move shard-000");
    shell("mv %s/shard-%04u/store %s/away", work, home[0], base);
    expect_repaired(&told);
    go_on(0, 0);
    assert_int_equal(last_seq_of_chat(0), 201);
    shell("rm -r %s/away", base);
}

static void a_store_comes_back_out_of_what_is_good_of_the_log(void **state)
{
    (void)state;
    struct told told;
    copy_to_work("clean");
    lose_store_of(home[0]);
    flip_in_log_of(home[0], 40);
    struct log_report log = log_of(home[0]);
    look(&told, LOOK);
    expect_remedy(&told, VERIFY_KIND_STORE_LOST,
                  "--repair puts it aside and makes a new one from what is good");
    expect_remedy(&told, VERIFY_KIND_LOG_DAMAGED, "--repair makes a new store from what is good of the log");
    expect_repaired_with_losses(&told);
    assert_int_equal(told.loss_count, 1);
    assert_int_equal(told.losses[0].first, log.end);
    assert_int_equal(told.losses[0].last, log.seen_end - 1);
    uint64_t kept = last_seq_of_chat(0);
    assert_true(kept > 0 && kept <= 200);
    go_on(0, log.seen_ceiling);
}

/* An event of a newer version is not given up by an older one. */
static void a_log_that_this_version_cannot_read_is_left_alone(void **state)
{
    (void)state;
    struct told told;
    uint8_t record[] = {EVENT_KIND_END, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    copy_to_work("killed");
    append_record(home[0], record, sizeof record, 0);
    shell("rm %s/shard-%04u/log/mark", work, home[0]);
    look(&told, LOOK);
    expect_remedy(&told, VERIFY_KIND_LOG_EVENT, "the version of Parley that wrote it");
    expect_remedy(&told, VERIFY_KIND_LOG_LOST, "the version of Parley that wrote this log");
    assert_int_equal(told.loss_count, 0);
    struct log_report before = log_of(home[0]);
    look(&told, REPAIR);
    assert_int_equal(told.loss_count, 0);
    struct log_report after = log_of(home[0]);
    assert_memory_equal(&before, &after, sizeof before);
    lose_store_of(home[0]); /* nor is a store made of the half of it */
    expect_no_help(&told);
    expect_remedy(&told, VERIFY_KIND_STORE_LOST, "--repair can do nothing");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_number_of_logs_is_put_aside),
        cmocka_unit_test(any_number_of_stores_is_put_aside),
        cmocka_unit_test(what_the_store_has_is_not_called_lost),
        cmocka_unit_test(what_a_damaged_log_had_alone_is_called_lost),
        cmocka_unit_test(what_does_not_follow_is_called_lost),
        cmocka_unit_test(what_cannot_be_applied_is_called_lost),
        cmocka_unit_test(a_gap_before_the_log_is_called_lost),
        cmocka_unit_test(a_repair_keeps_what_the_log_alone_has),
        cmocka_unit_test(stopped_anywhere_it_is_repeated_above_all_that_was),
        cmocka_unit_test(ids_of_rows_that_nobody_reads_are_not_given_again),
        cmocka_unit_test(ids_that_are_used_up_are_not_begun_again),
        cmocka_unit_test(lists_of_a_conversation_that_cannot_be_read_stay),
        cmocka_unit_test(lists_of_members_that_cannot_be_read_stay),
        cmocka_unit_test(a_damaged_shard_is_not_believed),
        cmocka_unit_test(without_store_and_beginning_there_is_no_repair),
        cmocka_unit_test(what_keeps_a_store_from_being_opened_is_not_its_damage),
        cmocka_unit_test(a_damaged_row_comes_back_out_of_a_whole_log),
        cmocka_unit_test(a_store_comes_back_out_of_what_is_good_of_the_log),
        cmocka_unit_test(a_log_that_this_version_cannot_read_is_left_alone),
    };
    return cmocka_run_group_tests(tests, bed_set_up, bed_tear_down);
}
