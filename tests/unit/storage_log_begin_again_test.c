/* A log that begins again: whatever stops it, nothing of the old one is overwritten, and no position and no id below what it
 * spoke of is given again. */
#include "storage/log_begin_again.h"
#include "storage/log_mark.h"
#include "tests/lib/step_file.h"
#include "tests/unit/log_world.h"

enum { OLD_FILES_MAX = 16, PATH_BYTES = 128, FATES = 4, FIRST_RENAME = 10 };

/* What the old log had, as files and as promises. */
struct old_log {
    struct {
        char path[PATH_BYTES];
        uint8_t *bytes;
        uint64_t len;
    } files[OLD_FILES_MAX];
    uint32_t count;
    struct log_report seen;
    bool mark_is_taken_over; /* it was sound, and the new log goes on with it */
};

static int inspect(struct sim_file *sim, struct log_report *report)
{
    const struct log_options options = {
        .dir = "log", .files = sim_file_layer(sim), .segment_bytes = SEGMENT_BYTES, .must_exist = true};
    struct log *log;
    int verdict = 0;
    assert_int_equal(log_inspect(&options, report, &verdict, &log), 0);
    log_close(&log);
    return verdict;
}

static void keep(struct old_log *old, struct sim_file *sim, const char *path)
{
    uint8_t *data;
    uint64_t len;
    assert_true(old->count < OLD_FILES_MAX && sim_file_bytes(sim, path, &data, &len));
    snprintf(old->files[old->count].path, PATH_BYTES, "%s", path);
    old->files[old->count].bytes = malloc(len + 1);
    memcpy(old->files[old->count].bytes, data, len);
    old->files[old->count++].len = len;
}

static void keep_all(struct old_log *old, struct sim_file *sim)
{
    const char *path;
    *old = (struct old_log){0};
    for (uint32_t i = 0; (path = sim_file_find(sim, ".seg", i)) != NULL; i++)
        keep(old, sim, path);
    if ((path = sim_file_find(sim, "/mark", 0)) != NULL)
        keep(old, sim, path);
    (void)inspect(sim, &old->seen);
}

static void forget(struct old_log *old)
{
    while (old->count > 0)
        free(old->files[--old->count].bytes);
}

/* Each old file is there with its bytes, under its name or as one that was put aside. */
static void check_evidence(const struct old_log *old, struct sim_file *sim)
{
    for (uint32_t i = 0; i < old->count; i++) {
        bool found = old->mark_is_taken_over && strcmp(old->files[i].path, "log/mark") == 0;
        for (uint32_t n = 0; n < 8 && !found; n++) {
            char path[PATH_BYTES + 16], suffix[16] = "";
            uint8_t *data;
            uint64_t len;
            if (n > 1)
                snprintf(suffix, sizeof suffix, ".%u", n);
            snprintf(path, sizeof path, "%s%s%s", old->files[i].path, n ? ".damaged" : "", suffix);
            found = sim_file_bytes(sim, path, &data, &len) && len == old->files[i].len &&
                    memcmp(data, old->files[i].bytes, len) == 0;
        }
        if (!found)
            fail_msg("%s is gone", old->files[i].path);
    }
}

static int begin(struct file_layer *files, const struct log_report *seen, uint32_t *aside)
{
    const struct log_beginning at = {seen->seen_end, seen->seen_ceiling};
    return log_begin_again(files, "log", seen, &at, aside);
}

/* It opens, is above all that the old one spoke of, and goes on. */
static void check_new_log(const struct old_log *old, struct fixture *f)
{
    must_open(f);
    assert_true(log_start(f->log) >= old->seen.seen_end);
    assert_true(log_ceiling(f->log) >= old->seen.seen_ceiling);
    assert_int_equal(log_start(f->log), log_end(f->log));
    f->ceiling = log_ceiling(f->log);
    f->ledger_count = 0;
    f->acked_end = 1;
    append_blocks(f, 40, 9000); /* over the segment's end */
    check_contents(f);
    write_mark(f);
    log_close(&f->log);
    must_open(f);
    check_contents(f);
    check_evidence(old, f->sim);
}

static void flip_a_block(struct sim_file *sim)
{
    assert_true(sim_file_flip(sim, sim_file_find(sim, ".seg", 1), (uint64_t)(LOG_BLOCK_ALIGN + 100) * 8));
}

static void lose_the_mark(struct sim_file *sim)
{
    struct file_layer *files = sim_file_layer(sim);
    assert_int_equal(files->ops->unlink(files, "log/mark"), 0);
    assert_int_equal(files->ops->sync_dir(files, "log"), 0);
}

static void damage_the_mark(struct sim_file *sim)
{
    assert_true(sim_file_flip(sim, "log/mark", 8 * 8) && sim_file_flip(sim, "log/mark", 4104 * 8));
}

static void lose_the_last_segments(struct sim_file *sim)
{
    struct file_layer *files = sim_file_layer(sim);
    while (sim_file_find(sim, ".seg", 1) != NULL)
        assert_int_equal(files->ops->unlink(files, sim_file_find(sim, ".seg", 1)), 0);
    assert_int_equal(files->ops->sync_dir(files, "log"), 0);
}

static void lose_all_segments(struct sim_file *sim)
{
    struct file_layer *files = sim_file_layer(sim);
    while (sim_file_find(sim, ".seg", 0) != NULL)
        assert_int_equal(files->ops->unlink(files, sim_file_find(sim, ".seg", 0)), 0);
    assert_int_equal(files->ops->sync_dir(files, "log"), 0);
}

static void cut_a_segment(struct sim_file *sim)
{
    assert_true(sim_file_truncate(sim, sim_file_find(sim, ".seg", 0), 5000));
}

static void nothing(struct sim_file *sim) /* it is too short for others, or does not follow */
{
    (void)sim;
}

static void (*const damages[])(struct sim_file *sim) = {
    flip_a_block,      lose_the_mark, damage_the_mark, lose_the_last_segments,
    lose_all_segments, cut_a_segment, nothing};

static void fill(struct fixture *f, uint64_t seed)
{
    fixture_init(f, seed);
    f->ceiling = 5000000;
    must_open(f);
    append_blocks(f, 12, 9000);
    write_mark(f);
    log_close(&f->log);
}

static void cut_power(void *owner)
{
    sim_file_crash(owner, false);
}

/* Power goes at one change of a first try; another one begins from what is there. True when the first was through. */
static bool try_with_power_cut(const struct fixture *filled, struct old_log *old, uint64_t step,
                               uint32_t fate)
{
    struct fixture f = *filled;
    struct step_file files;
    struct log_report seen;
    uint32_t aside;
    f.sim = sim_file_clone(filled->sim);
    f.files = sim_file_layer(f.sim);
    for (uint32_t i = 0; i < fate; i++) /* of what is not durable */
        (void)sim_file_random(f.sim);
    step_file_init(&files, f.files, step, cut_power, f.sim);
    int err = begin(&files.base, &old->seen, &aside);
    bool through = !step_file_has_stopped(&files);
    assert_int_equal(err, through ? 0 : -PARLEY_ERR_IO);
    if (!through)
        sim_file_restart(f.sim);
    check_evidence(old, f.sim);
    int verdict = inspect(f.sim, &seen);
    assert_true(seen.seen_end >= old->seen.seen_end && seen.seen_ceiling >= old->seen.seen_ceiling);
    if (verdict != 0) {
        assert_false(through);
        assert_int_equal(begin(f.files, &seen, &aside), 0);
    } else if (seen.start == old->seen.start && seen.end == old->seen.end) {
        assert_false(through); /* the old log, whole: nothing was changed yet */
        assert_int_equal(begin(f.files, &seen, &aside), 0);
    } else {
        old->mark_is_taken_over = !through;
    }
    check_new_log(old, &f);
    old->mark_is_taken_over = false;
    drop_copy(&f);
    return through;
}

static void a_power_cut_at_any_change_forgets_no_promise(void **state)
{
    (void)state;
    for (size_t d = 0; d < PARLEY_ARRAY_COUNT(damages); d++) {
        struct fixture f;
        struct old_log old;
        fill(&f, d);
        damages[d](f.sim);
        keep_all(&old, f.sim);
        assert_true(old.seen.seen_end > 1 && old.seen.seen_ceiling >= 5000000);
        uint64_t step = 1;
        for (bool through = false; !through; step++)
            for (uint32_t fate = 0; fate < (step < FIRST_RENAME ? 1 : FATES) && !through; fate++)
                through = try_with_power_cut(&f, &old, step, fate);
        assert_true(step > FIRST_RENAME);
        forget(&old);
        fixture_done(&f);
    }
}

/* Every repair keeps what it found: also what the one before has made. */
static void any_number_of_times_nothing_is_overwritten(void **state)
{
    (void)state;
    enum { TIMES = 4 };
    struct fixture f;
    struct old_log old[TIMES];
    uint32_t aside;
    fill(&f, 7);
    for (uint32_t i = 0; i < TIMES; i++) {
        keep_all(&old[i], f.sim);
        assert_int_equal(begin(f.files, &old[i].seen, &aside), 0);
        assert_int_equal(aside, i + 1);
        check_new_log(&old[i], &f);
        log_close(&f.log);
    }
    for (uint32_t i = 0; i < TIMES; i++) {
        check_evidence(&old[i], f.sim);
        forget(&old[i]);
    }
    fixture_done(&f);
}

/* A disk that has no room leaves the old log as it was. */
static void a_full_disk_changes_nothing(void **state)
{
    (void)state;
    struct fixture f;
    struct old_log old;
    struct log_report seen;
    uint32_t aside;
    fill(&f, 8);
    flip_a_block(f.sim);
    keep_all(&old, f.sim);
    sim_file_set_full(f.sim, true);
    assert_int_equal(begin(f.files, &old.seen, &aside), -PARLEY_ERR_DISK_FULL);
    sim_file_set_full(f.sim, false);
    assert_int_equal(inspect(f.sim, &seen), -PARLEY_ERR_CORRUPT);
    assert_memory_equal(&seen, &old.seen, sizeof seen);
    assert_null(sim_file_find(f.sim, ".damaged", 0));
    forget(&old);
    fixture_done(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_power_cut_at_any_change_forgets_no_promise),
        cmocka_unit_test(any_number_of_times_nothing_is_overwritten),
        cmocka_unit_test(a_full_disk_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
