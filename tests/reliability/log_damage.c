/* Rows 3, 4 and 5 of docs/reliability.md: the real log on a simulated disk that is torn, flipped and cut.
 *
 * log_damage torn ROUNDS SEED | flips STEP SEED | cuts STEP SEED
 * Prints one line of JSON with counts. The first thing that is not as it should be ends it: exit status 1.
 */
#include "tests/unit/log_world.h"

enum { WRITES = 200 };

static uint64_t step, seed;

/* -- row 3 */

/* Works until the n-th write from now is under way, with random earlier completions, and turns the power off. */
static void work_until_write(struct fixture *f, uint64_t n)
{
    uint64_t stop = sim_file_write_count(f->sim) + n;
    sim_file_hold(f->sim, true);
    while (sim_file_write_count(f->sim) < stop) {
        if (sim_file_random(f->sim) % 4 != 0) {
            int err = try_append(f, 1 + (uint32_t)(sim_file_random(f->sim) % 20000),
                                 1 + (uint32_t)(sim_file_random(f->sim) % LOG_RECORD_EVENTS_MAX));
            assert_true(err == 0 || err == -PARLEY_ERR_FULL);
        }
        f->now_ms += sim_file_random(f->sim) % 8 ? 1 : 500; /* now and then there is time for a mark */
        log_poll(f->log, f->now_ms);
        if (sim_file_write_count(f->sim) < stop)
            sim_file_release(f->sim, (uint32_t)(sim_file_random(f->sim) % 3));
        log_poll(f->log, f->now_ms);
    }
    sim_file_hold(f->sim, false);
    crash_and_reopen(f, true);
}

static void torn_writes_leave_a_clean_prefix(void **state)
{
    (void)state;
    uint64_t repaired = 0;
    for (uint64_t round = 0; round < step; round++) {
        for (uint64_t n = 1; n <= WRITES; n++) {
            struct fixture f;
            fixture_init(&f, (seed * 1000 + round) * WRITES + n);
            f.blind = true; /* the cuts are many */
            must_open(&f);
            work_until_write(&f, n);
            repaired += f.report.torn_bytes > 0;
            append_blocks(&f, 2, 100); /* and it goes on */
            check_contents(&f);
            fixture_done(&f);
        }
    }
    assert_true(repaired > step * WRITES / 20); /* else nothing was torn */
    printf("{\"runs\":%llu,\"repaired\":%llu}\n", (unsigned long long)(step * WRITES),
           (unsigned long long)repaired);
}

/* -- rows 4 and 5 */

enum { BLOCKS = 8 };

/* Blocks of one to three sectors, some without padding; the segment's last sectors are free. */
static const uint32_t sizes[BLOCKS] = {40, 4000, 9000, 1, 4024, 7000, 300, 8120};

static uint64_t block_bytes(uint32_t block)
{
    return log_block_padded_bytes(LOG_BLOCK_PREFIX_BYTES + sizes[block]);
}

/* A copy of the disk with such a segment; the mark names block number `marked_blocks`. */
static struct sim_file *fill_segment(struct fixture *f, uint32_t marked_blocks)
{
    fixture_init(f, seed);
    f->blind = true;
    must_open(f);
    for (uint32_t i = 0; i < BLOCKS; i++) {
        append_blocks(f, 1, sizes[i]);
        if (i + 1 == marked_blocks)
            write_mark(f);
    }
    return sim_file_clone(f->sim);
}

/* A reader of a log that is open meets the flip: it gets what was written, or an error. */
static int read_flipped(struct fixture *f)
{
    struct reading r = {.f = f, .next = log_start(f->log)};
    return log_read(f->log, r.next, UINT64_MAX, check_record, &r);
}

static void every_flipped_bit_is_found(void **state)
{
    (void)state;
    struct fixture f, copy;
    uint64_t runs = 0, refused = 0, swept = 0;
    struct sim_file *disk = fill_segment(&f, 8);
    const char *path = sim_file_find(disk, ".seg", 0), *open_path = sim_file_find(f.sim, ".seg", 0);
    uint64_t used = 0;
    for (uint32_t i = 0; i < BLOCKS; i++)
        used += block_bytes(i);
    for (uint64_t bit = seed % step; bit < (uint64_t)SEGMENT_BYTES * 8; bit += step, runs++) {
        assert_true(sim_file_flip(disk, path, bit));
        int err = recover_copy(&f, disk, &copy);
        if (bit / 8 < used) { /* in a block, padding included */
            assert_int_equal(err, -PARLEY_ERR_CORRUPT);
            assert_non_null(strstr(copy.report.file, ".seg"));
            refused++;
        } else { /* behind the end: reported, swept away, nothing is missing */
            assert_int_equal(err, 0);
            assert_true(copy.report.torn_bytes > 0);
            assert_int_equal(log_end(copy.log), log_end(f.log));
            check_contents(&copy);
            swept++;
        }
        drop_copy(&copy);
        assert_true(sim_file_flip(disk, path, bit));
        assert_true(sim_file_flip(f.sim, open_path, bit));
        assert_int_equal(read_flipped(&f), bit / 8 < used ? -PARLEY_ERR_CORRUPT : 0);
        assert_true(sim_file_flip(f.sim, open_path, bit));
    }
    sim_file_destroy(&disk);
    fixture_done(&f);
    printf("{\"runs\":%llu,\"refused\":%llu,\"swept\":%llu}\n", (unsigned long long)runs,
           (unsigned long long)refused, (unsigned long long)swept);
}

/* How many blocks are whole when everything from `cut` on is zero; the padding of a block is zero anyway. */
static uint32_t whole_blocks(struct sim_file *disk, const char *path, uint64_t cut)
{
    uint8_t *data;
    uint64_t len, end = 0;
    uint32_t count = 0;
    assert_true(sim_file_bytes(disk, path, &data, &len));
    while (count < BLOCKS) {
        end += block_bytes(count);
        if (end > cut && !log_block_is_zero(data + cut, end - cut))
            break;
        count++;
    }
    return count;
}

/* A file that is shorter is refused, whatever was in it: its name says how long it was made. */
static void cut_short(struct fixture *f, const struct sim_file *disk, uint64_t cut)
{
    struct fixture copy;
    struct sim_file *shorter = sim_file_clone(disk);
    assert_true(sim_file_truncate(shorter, sim_file_find(shorter, ".seg", 0), cut));
    assert_int_equal(recover_copy(f, shorter, &copy), -PARLEY_ERR_CORRUPT);
    assert_int_equal(copy.report.offset, cut);
    drop_copy(&copy);
    sim_file_destroy(&shorter);
}

/* Of the right length, but zeros from `cut` on: exactly the blocks before it, or a refusal when the mark has seen more. */
static bool cut_to_zeros(struct fixture *f, struct sim_file *disk, uint64_t cut, uint32_t marked_blocks)
{
    struct fixture copy;
    uint8_t *data;
    uint64_t len;
    uint32_t whole = whole_blocks(disk, sim_file_find(disk, ".seg", 0), cut);
    struct sim_file *zeroed = sim_file_clone(disk);
    assert_true(sim_file_bytes(zeroed, sim_file_find(zeroed, ".seg", 0), &data, &len));
    memset(data + cut, 0, len - cut);
    int err = recover_copy(f, zeroed, &copy);
    if (whole < marked_blocks) {
        assert_true(err == -PARLEY_ERR_LOST || err == -PARLEY_ERR_CORRUPT);
    } else {
        assert_int_equal(err, 0);
        assert_int_equal(log_end(copy.log), whole + 1);
        check_contents(&copy);
    }
    drop_copy(&copy);
    sim_file_destroy(&zeroed);
    return err != 0;
}

static void every_cut_leaves_a_prefix_or_is_found(void **state)
{
    (void)state;
    enum { MARKED = 5 };
    struct fixture f;
    uint64_t runs = 0, refused = 0;
    struct sim_file *disk = fill_segment(&f, MARKED);
    for (uint64_t cut = seed % step; cut < SEGMENT_BYTES; cut += step, runs++) {
        cut_short(&f, disk, cut);
        refused += cut_to_zeros(&f, disk, cut, MARKED);
    }
    assert_true(refused > 0 && refused < runs);
    sim_file_destroy(&disk);
    fixture_done(&f);
    printf("{\"runs\":%llu,\"refused\":%llu}\n", (unsigned long long)runs, (unsigned long long)refused);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest torn[] = {cmocka_unit_test(torn_writes_leave_a_clean_prefix)};
    const struct CMUnitTest flips[] = {cmocka_unit_test(every_flipped_bit_is_found)};
    const struct CMUnitTest cuts[] = {cmocka_unit_test(every_cut_leaves_a_prefix_or_is_found)};
    step = argc == 4 ? strtoull(argv[2], NULL, 10) : 0;
    seed = argc == 4 ? strtoull(argv[3], NULL, 10) : 0;
    if (step > 0 && strcmp(argv[1], "torn") == 0)
        return cmocka_run_group_tests(torn, NULL, NULL);
    if (step > 0 && strcmp(argv[1], "flips") == 0)
        return cmocka_run_group_tests(flips, NULL, NULL);
    if (step > 0 && strcmp(argv[1], "cuts") == 0)
        return cmocka_run_group_tests(cuts, NULL, NULL);
    fprintf(stderr, "usage: log_damage torn ROUNDS SEED | flips STEP SEED | cuts STEP SEED\n");
    return 2;
}
