/* The commit log on a simulated disk, against a ledger that the log knows nothing of; and once on a real one. */
#include "tests/unit/log_world.h"

#include <pthread.h>
#include <unistd.h>
#include <liburing.h>

#include "src/base/memory.h"
#include "storage/log_recover.h"

static void records_come_back_after_reopening(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 1);
    must_open(&f);
    assert_int_equal(log_start(f.log), 1);
    assert_int_equal(log_end(f.log), 1);
    assert_int_equal(try_append(&f, 0, 1), 0);
    assert_int_equal(try_append(&f, 5000, LOG_RECORD_EVENTS_MAX), 0);
    assert_int_equal(log_next(f.log), 2 + LOG_RECORD_EVENTS_MAX);
    assert_int_equal(f.acked_end, 1);
    settle(&f);
    assert_int_equal(f.acked_end, 2 + LOG_RECORD_EVENTS_MAX);
    assert_int_equal(try_append(&f, 10, 3), 0); /* close makes it durable */
    log_close(&f.log);
    must_open(&f);
    assert_int_equal(f.report.mark, log_end(f.log));
    check_reopened(&f);
    assert_int_equal(log_end(f.log), 5 + LOG_RECORD_EVENTS_MAX);
    /* A place inside a record finds the record; beyond the end there is nothing, and that is an error. */
    struct reading r = {.f = &f, .next = 2};
    assert_int_equal(log_read(f.log, 5, 6, check_record, &r), 0);
    assert_int_equal(r.next, 2 + LOG_RECORD_EVENTS_MAX);
    assert_int_equal(log_read(f.log, log_end(f.log), UINT64_MAX, check_record, &r), 0);
    assert_int_equal(log_read(f.log, log_end(f.log) + 1, UINT64_MAX, check_record, &r), -PARLEY_ERR_LOST);
    uint64_t position;
    assert_int_equal(log_append(f.log, "x", 1, 0, &position), -PARLEY_ERR_BAD_REQUEST);
    assert_int_equal(log_append(f.log, "x", 1, LOG_RECORD_EVENTS_MAX + 1, &position),
                     -PARLEY_ERR_BAD_REQUEST);
    assert_int_equal(log_append(f.log, f.scratch, SEGMENT_BYTES, 1, &position), -PARLEY_ERR_TOO_LARGE);
    fixture_done(&f);
}

static void one_write_commits_a_group(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 2);
    must_open(&f);
    settle(&f);
    sim_file_hold(f.sim, true);
    must_append(&f, 10);
    log_poll(f.log, 0);
    for (int i = 0; i < 100; i++)
        must_append(&f, 100);
    log_poll(f.log, 0);
    assert_int_equal(sim_file_in_flight(f.sim), 1);
    assert_int_equal(f.acked_end, 1);
    sim_file_release(f.sim, 1);
    log_poll(f.log, 0);
    assert_int_equal(f.acked_end, 2);
    assert_int_equal(sim_file_in_flight(f.sim), 1);
    sim_file_release(f.sim, 1);
    log_poll(f.log, 0);
    assert_int_equal(f.acked_end, 102);
    assert_int_equal(f.ack_count, 2);
    sim_file_hold(f.sim, false);
    check_contents(&f);
    fixture_done(&f);
}

static void counters_add_up(void **state)
{
    (void)state;
    struct fixture f;
    struct log_counters c;
    fixture_init(&f, 3);
    must_open(&f);
    settle(&f);
    log_counters_read(f.log, &c);
    assert_int_equal(c.zeroed_bytes, 2 * f.segment_bytes); /* the first and the spare */
    assert_int_equal(c.event_bytes + c.blocks + c.block_bytes + c.padding_bytes, 0);
    must_append(&f, 10);
    must_append(&f, 5000);
    settle(&f);
    assert_int_equal(log_tick(f.log), 0);
    settle(&f);
    log_counters_read(f.log, &c);
    assert_int_equal(c.event_bytes, 5010);
    assert_int_equal(c.blocks, 2);
    assert_int_equal(c.block_bytes, 3 * LOG_BLOCK_ALIGN);
    /* 64 bytes of header for each block, 8 before each record */
    assert_int_equal(c.padding_bytes, c.block_bytes - c.event_bytes - 2 * 64 - 2 * 8);
    assert_int_equal(c.mark_bytes, 0);
    f.now_ms += 1000;
    settle(&f);
    log_counters_read(f.log, &c);
    assert_int_equal(c.mark_bytes, LOG_BLOCK_ALIGN);
    log_close(&f.log);
    must_open(&f);
    log_counters_read(f.log, &c);
    assert_int_equal(c.event_bytes + c.block_bytes + c.zeroed_bytes, 0); /* since it was opened */
    fixture_done(&f);
}

static void ceilings_rise_and_survive(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 3);
    must_open(&f);
    f.ceiling = 1000;
    append_blocks(&f, 3, 10);
    assert_int_equal(log_ceiling(f.log), 1003);
    assert_int_equal(log_tick(f.log), 0);
    settle(&f);
    assert_int_equal(log_ceiling(f.log), 1004);
    crash_and_reopen(&f, false);
    assert_int_equal(log_ceiling(f.log), 1004);
    assert_int_equal(f.report.ceiling, 1004);
    f.ceiling = 5; /* a clock that stepped back */
    append_blocks(&f, 1, 10);
    assert_int_equal(log_ceiling(f.log), 1004);
    fixture_done(&f);
}

static void random_step(struct fixture *f)
{
    uint64_t dice = sim_file_random(f->sim) % 100;
    uint32_t events = 1 + (uint32_t)(sim_file_random(f->sim) % LOG_RECORD_EVENTS_MAX);
    int err = 0;
    if (dice < 50)
        err = try_append(f, (uint32_t)(sim_file_random(f->sim) % 300), events);
    else if (dice < 58)
        err = try_append(f, (uint32_t)(sim_file_random(f->sim) % RECORD_MAX), events);
    else if (dice < 60)
        err = log_tick(f->log);
    else if (dice < 62)
        check_contents(f);
    else if (dice < 64) {
        f->trimmed_below = 1 + sim_file_random(f->sim) % f->acked_end;
        err = log_trim(f->log, f->trimmed_below);
    } else if (dice < 66)
        write_mark(f);
    else if (dice < 75)
        sim_file_release(f->sim, 1);
    else
        log_poll(f->log, f->now_ms += 10);
    assert_true(err == 0 || err == -PARLEY_ERR_FULL);
}

static void crashes_lose_nothing_acknowledged(void **state)
{
    (void)state;
    uint64_t torn = 0, blocks = 0;
    for (uint64_t seed = 1; seed <= 120; seed++) {
        struct fixture f;
        fixture_init(&f, seed);
        must_open(&f);
        for (int round = 0; round < 5; round++) {
            uint64_t steps = sim_file_random(f.sim) % 120, highest_trim = f.trimmed_below;
            sim_file_hold(f.sim, sim_file_random(f.sim) % 2 == 0);
            for (uint64_t i = 0; i < steps; i++) {
                random_step(&f);
                if (f.trimmed_below > highest_trim)
                    highest_trim = f.trimmed_below;
            }
            f.trimmed_below = highest_trim;
            crash_and_reopen(&f, seed % 3 == 0);
            torn += f.report.torn_bytes > 0;
        }
        blocks += f.ack_count;
        fixture_done(&f);
    }
    assert_true(torn > 50 && blocks > 3000); /* the rounds meet what they are for */
}

static struct sim_file *three_blocks(struct fixture *f, bool marked)
{
    fixture_init(f, 4);
    f->segment_bytes = 16 << 10;
    must_open(f);
    append_blocks(f, 2, 40);
    write_mark(f);
    append_blocks(f, 1, 40);
    if (marked)
        write_mark(f);
    return sim_file_clone(f->sim);
}

static void flip_every_bit(bool marked)
{
    struct fixture f, copy;
    struct sim_file *disk = three_blocks(&f, marked);
    const char *path = sim_file_find(disk, ".seg", 0);
    for (uint64_t byte = marked ? 0 : 2 * LOG_BLOCK_ALIGN; byte < 3 * LOG_BLOCK_ALIGN; byte++) {
        uint64_t in_block = byte % LOG_BLOCK_ALIGN;
        bool dense = in_block < 120 || in_block >= LOG_BLOCK_ALIGN - 8;
        if (!dense && in_block % 64 != 0)
            continue;
        for (uint64_t bit = dense ? 0 : byte / 64 % 8; bit < 8; bit += dense ? 1 : 8) {
            assert_true(sim_file_flip(disk, path, byte * 8 + bit));
            int err = recover_copy(&f, disk, &copy);
            bool may_look_torn = !marked && byte >= 2 * LOG_BLOCK_ALIGN;
            if (err == 0) {
                assert_true(may_look_torn);
                assert_int_equal(log_end(copy.log), 3);
                check_contents(&copy);
            } else {
                assert_int_equal(err, -PARLEY_ERR_CORRUPT);
                assert_int_equal(copy.report.offset, byte / LOG_BLOCK_ALIGN * LOG_BLOCK_ALIGN);
                assert_non_null(strstr(copy.report.file, ".seg"));
                assert_true(copy.report.text[0] != '\0');
            }
            drop_copy(&copy);
            assert_true(sim_file_flip(disk, path, byte * 8 + bit));
        }
    }
    sim_file_destroy(&disk);
    fixture_done(&f);
}

static void flipped_bits_are_found(void **state)
{
    (void)state;
    flip_every_bit(true);
    flip_every_bit(false);
}

static void a_flipped_mark_or_padding_is_harmless(void **state)
{
    (void)state;
    struct fixture f, copy;
    struct sim_file *disk = three_blocks(&f, true);
    const char *mark = sim_file_find(disk, "/mark", 0), *segment = sim_file_find(disk, ".seg", 0);
    for (uint64_t byte = 0; byte < 2 * LOG_BLOCK_ALIGN; byte += byte % LOG_BLOCK_ALIGN < 48 ? 1 : 16) {
        assert_true(sim_file_flip(disk, mark, byte * 8 + byte % 8));
        assert_int_equal(recover_copy(&f, disk, &copy), 0);
        assert_int_equal(log_end(copy.log), 4);
        check_contents(&copy);
        drop_copy(&copy);
        assert_true(sim_file_flip(disk, mark, byte * 8 + byte % 8));
    }
    /* Behind the end: swept away like a torn tail. */
    assert_true(sim_file_flip(disk, segment, (uint64_t)(3 * LOG_BLOCK_ALIGN + 77) * 8));
    assert_int_equal(recover_copy(&f, disk, &copy), 0);
    assert_true(copy.report.torn_bytes > 0);
    check_contents(&copy);
    drop_copy(&copy);
    /* Both slots bad. */
    assert_true(sim_file_flip(disk, mark, 5) && sim_file_flip(disk, mark, LOG_BLOCK_ALIGN * 8 + 5));
    assert_int_equal(recover_copy(&f, disk, &copy), -PARLEY_ERR_CORRUPT);
    drop_copy(&copy);
    sim_file_destroy(&disk);
    fixture_done(&f);
}

static void every_truncation_is_found(void **state)
{
    (void)state;
    struct fixture f, copy;
    struct sim_file *disk = three_blocks(&f, true);
    for (uint64_t bytes = 0; bytes < f.segment_bytes; bytes += 512) {
        struct sim_file *cut = sim_file_clone(disk);
        assert_true(sim_file_truncate(cut, sim_file_find(cut, ".seg", 0), bytes));
        assert_int_equal(recover_copy(&f, cut, &copy), -PARLEY_ERR_CORRUPT);
        assert_int_equal(copy.report.offset, bytes);
        drop_copy(&copy);
        sim_file_destroy(&cut);
    }
    sim_file_destroy(&disk);
    fixture_done(&f);
}

static void zero_sector(struct sim_file *disk, const char *path, uint64_t sector)
{
    uint8_t *data;
    uint64_t len;
    assert_true(sim_file_bytes(disk, path, &data, &len));
    assert_true((sector + 1) * LOG_BLOCK_ALIGN <= len);
    memset(data + sector * LOG_BLOCK_ALIGN, 0, LOG_BLOCK_ALIGN);
}

static void an_end_below_the_mark_is_lost(void **state)
{
    (void)state;
    struct fixture f, copy;
    struct sim_file *disk = three_blocks(&f, true);
    const char *path = sim_file_find(disk, ".seg", 0);
    zero_sector(disk, path, 2);
    assert_int_equal(recover_copy(&f, disk, &copy), -PARLEY_ERR_LOST);
    drop_copy(&copy);
    zero_sector(disk, path, 1);
    zero_sector(disk, path, 0);
    assert_int_equal(recover_copy(&f, disk, &copy), -PARLEY_ERR_LOST);
    drop_copy(&copy);
    sim_file_destroy(&disk);
    fixture_done(&f);
}

/* No mark helps here: the block behind it proves that the bad one was acknowledged. */
static void a_hole_before_a_valid_block_is_damage(void **state)
{
    (void)state;
    struct fixture f, copy;
    fixture_init(&f, 4);
    must_open(&f);
    append_blocks(&f, 3, 40);
    for (int zero = 0; zero < 2; zero++) {
        struct sim_file *disk = sim_file_clone(f.sim);
        const char *path = sim_file_find(disk, ".seg", 0);
        if (zero)
            zero_sector(disk, path, 1);
        else
            assert_true(sim_file_flip(disk, path, (uint64_t)(LOG_BLOCK_ALIGN + 20) * 8));
        assert_int_equal(recover_copy(&f, disk, &copy), -PARLEY_ERR_CORRUPT);
        assert_int_equal(copy.report.offset, LOG_BLOCK_ALIGN);
        drop_copy(&copy);
        sim_file_destroy(&disk);
    }
    fixture_done(&f);
}

/* A client writes the image of a later header where a 4 KiB piece of the block begins. */
static void a_payload_is_never_taken_for_a_header(void **state)
{
    (void)state;
    enum { LEN = 3 * LOG_BLOCK_ALIGN - LOG_BLOCK_HEADER_BYTES - LOG_BLOCK_PREFIX_BYTES };
    struct fixture f, copy;
    fixture_init(&f, 5);
    must_open(&f);
    append_blocks(&f, 1, 10);
    struct log_block_header forged = {.segment_id = 1, .number = 9, .first_position = 9, .ceiling = 99};
    uint8_t *image = calloc(1, LOG_BLOCK_ALIGN);
    assert_non_null(image);
    log_block_seal(image, 0, &forged); /* all right, but for the salt */
    memset(f.scratch, 7, LEN);
    memcpy(f.scratch + LOG_BLOCK_ALIGN - LOG_BLOCK_HEADER_BYTES - LOG_BLOCK_PREFIX_BYTES, image,
           LOG_BLOCK_HEADER_BYTES);
    uint64_t position;
    assert_int_equal(log_append(f.log, f.scratch, LEN, 1, &position), 0);
    settle(&f);
    struct sim_file *whole = sim_file_clone(f.sim);
    for (uint32_t subset = 0; subset < 8; subset++) {
        struct sim_file *torn = sim_file_clone(whole);
        for (uint32_t piece = 0; piece < 3; piece++)
            if ((subset >> piece & 1) == 0)
                zero_sector(torn, sim_file_find(torn, ".seg", 0), 1 + piece);
        assert_int_equal(recover_copy(&f, torn, &copy), 0);
        assert_int_equal(log_end(copy.log), subset == 7 ? 3 : 2);
        assert_int_equal(copy.report.torn_bytes > 0, subset != 7 && subset != 0);
        if (subset != 7) { /* what is written over the swept place is found again */
            copy.acked_end = 2;
            append_blocks(&copy, 2, 100);
            crash_and_reopen(&copy, false);
            assert_int_equal(log_end(copy.log), 4);
            f.next_tag = copy.next_tag;
        }
        drop_copy(&copy);
        sim_file_destroy(&torn);
    }
    sim_file_destroy(&whole);
    free(image);
    fixture_done(&f);
}

static void run_until_fatal(struct fixture *f)
{
    for (int i = 0; i < 40 && f->fatal_count == 0; i++) {
        int err = try_append(f, 9000, 1);
        assert_true(err == 0 || err == -PARLEY_ERR_FULL || (err == -PARLEY_ERR_IO && f->fatal_count == 1));
        log_poll(f->log, f->now_ms += 40);
        log_poll(f->log, f->now_ms += 200);
    }
}

static void nothing_is_durable_after_a_failure(void **state)
{
    (void)state;
    uint32_t fatal = 0;
    for (uint64_t n = 1; n <= 60; n++) {
        struct fixture f;
        fixture_init(&f, n);
        must_open(&f);
        if (n % 2 == 0)
            sim_file_fail_write(f.sim, n / 2, -PARLEY_ERR_IO);
        else
            sim_file_fail_sync(f.sim, n / 2 + 1, -PARLEY_ERR_IO);
        run_until_fatal(&f);
        fatal += f.fatal_count;
        if (f.fatal_count > 0) {
            uint64_t end = f.acked_end, writes = sim_file_write_count(f.sim), position;
            assert_int_equal(log_append(f.log, "x", 1, 1, &position), -PARLEY_ERR_IO);
            assert_int_equal(log_tick(f.log), -PARLEY_ERR_IO);
            for (int i = 0; i < 5; i++)
                log_poll(f.log, f.now_ms += 1000);
            log_close(&f.log);
            assert_int_equal(f.acked_end, end);
            assert_int_equal(sim_file_write_count(f.sim), writes);
            assert_int_equal(f.fatal_count, 1);
            assert_int_equal(f.acks_after_fatal, 0);
            must_open(&f);
            check_reopened(&f);
        }
        fixture_done(&f);
    }
    assert_true(fatal > 30);
}

static void a_block_after_a_failed_mark_is_not_announced(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 6);
    must_open(&f);
    append_blocks(&f, 1, 10);
    sim_file_hold(f.sim, true);
    sim_file_fail_write(f.sim, 1, -PARLEY_ERR_IO);
    log_poll(f.log, f.now_ms += 1000); /* the mark */
    assert_int_equal(sim_file_in_flight(f.sim), 1);
    must_append(&f, 10);
    log_poll(f.log, f.now_ms);
    assert_int_equal(sim_file_in_flight(f.sim), 2);
    sim_file_release(f.sim, 2);
    log_poll(f.log, f.now_ms);
    assert_int_equal(f.fatal_count, 1);
    assert_int_equal(f.acked_end, 2);
    fixture_done(&f);
}

static void segments_follow_and_are_trimmed(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 7);
    must_open(&f);
    append_blocks(&f, 40, 9000); /* 5 blocks a segment */
    assert_int_equal(log_bytes(f.log), 8 * SEGMENT_BYTES);
    check_contents(&f);
    assert_int_equal(log_trim(f.log, 11), 0);
    assert_int_equal(log_start(f.log), 11);
    assert_int_equal(log_trim(f.log, 15), 0); /* 11..15 are needed from 15 on */
    assert_int_equal(log_start(f.log), 11);
    struct reading r = {.f = &f, .next = 10};
    assert_int_equal(log_read(f.log, 10, 20, check_record, &r), -PARLEY_ERR_LOST);
    check_contents(&f);
    assert_int_equal(log_trim(f.log, UINT64_MAX), 0);
    assert_int_equal(log_start(f.log), 36);
    f.trimmed_below = 36;
    crash_and_reopen(&f, false);
    assert_int_equal(log_start(f.log), 36);
    assert_int_equal(log_end(f.log), 41);
    append_blocks(&f, 1, 9000);
    check_contents(&f);
    fixture_done(&f);
}

/* The newest segment holds only a block in flight: the last durable block is in the one before. */
static void trimming_spares_the_last_durable_block(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 8);
    must_open(&f);
    append_blocks(&f, 5, 9000);
    sim_file_hold(f.sim, true);
    must_append(&f, 9000);
    log_poll(f.log, 0);
    assert_int_equal(sim_file_in_flight(f.sim), 1);
    assert_int_equal(log_trim(f.log, UINT64_MAX), 0);
    assert_int_equal(log_start(f.log), 1);
    crash_and_reopen(&f, false);
    fixture_done(&f);
}

static void a_missing_or_damaged_older_segment_is_refused(void **state)
{
    (void)state;
    struct fixture f, copy;
    fixture_init(&f, 9);
    must_open(&f);
    append_blocks(&f, 12, 9000);
    for (uint32_t segment = 0; segment < 3; segment++) {
        struct sim_file *disk = sim_file_clone(f.sim);
        struct file_layer *files = sim_file_layer(disk);
        assert_int_equal(files->ops->unlink(files, sim_file_find(disk, ".seg", segment)), 0);
        int err = recover_copy(&f, disk, &copy);
        if (segment == 0) /* what is left looks trimmed; who reads below finds it lost */
            assert_int_equal(err, 0);
        else
            assert_int_equal(err, -PARLEY_ERR_CORRUPT);
        drop_copy(&copy);
        sim_file_destroy(&disk);
    }
    /* The last block of the first segment: no torn tail there. */
    struct sim_file *disk = sim_file_clone(f.sim);
    assert_true(
        sim_file_flip(disk, sim_file_find(disk, ".seg", 0), (uint64_t)(4 * 3 * LOG_BLOCK_ALIGN + 100) * 8));
    assert_int_equal(recover_copy(&f, disk, &copy), -PARLEY_ERR_CORRUPT);
    assert_int_equal(copy.report.offset, 4 * 3 * LOG_BLOCK_ALIGN);
    drop_copy(&copy);
    sim_file_destroy(&disk);
    fixture_done(&f);
}

static void a_full_log_refuses_and_recovers(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 10);
    must_open(&f);
    settle(&f);
    sim_file_hold(f.sim, true);
    int err;
    while ((err = try_append(&f, 1000, 1)) == 0)
        log_poll(f.log, 0);
    assert_int_equal(err, -PARLEY_ERR_FULL);
    assert_int_equal(f.acked_end, 1);
    sim_file_hold(f.sim, false);
    settle(&f);
    assert_int_equal(f.acked_end, log_next(f.log));
    assert_int_equal(try_append(&f, 1000, 1), 0);
    settle(&f);
    check_contents(&f);
    fixture_done(&f);
}

static void a_full_disk_refuses_and_recovers(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 11);
    must_open(&f);
    sim_file_fail_write(f.sim, 1, -PARLEY_ERR_DISK_FULL); /* the spare */
    log_poll(f.log, 0);
    int err = 0;
    for (int i = 0; i < 10 && (err = try_append(&f, 20000, 1)) == 0; i++)
        log_poll(f.log, 0);
    assert_int_equal(err, -PARLEY_ERR_DISK_FULL);
    assert_int_equal(f.fatal_count, 0);
    f.now_ms = 5000; /* space was made */
    settle(&f);
    append_blocks(&f, 10, 20000);
    check_contents(&f);
    fixture_done(&f);
}

static int trim_while_reading(void *owner, uint64_t position, uint32_t events, struct span data)
{
    struct reading *r = owner;
    assert_int_equal(check_record(owner, position, events, data), 0);
    return position == 1 ? log_trim(r->f->log, UINT64_MAX) : 0;
}

static void a_reader_overtaken_by_trimming_is_told(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 12);
    must_open(&f);
    append_blocks(&f, 20, 9000);
    struct reading r = {.f = &f, .next = 1};
    assert_int_equal(log_read(f.log, 1, UINT64_MAX, trim_while_reading, &r), -PARLEY_ERR_LOST);
    assert_int_equal(r.next, 6); /* the segment that it had open, no more */
    fixture_done(&f);
}

static void a_reader_serves_nothing_damaged(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 13);
    must_open(&f);
    append_blocks(&f, 3, 40);
    assert_true(sim_file_flip(f.sim, sim_file_find(f.sim, ".seg", 0), (uint64_t)(LOG_BLOCK_ALIGN + 90) * 8));
    struct reading r = {.f = &f, .next = 1};
    assert_int_equal(log_read(f.log, 1, UINT64_MAX, check_record, &r), -PARLEY_ERR_CORRUPT);
    assert_int_equal(r.next, 2);
    fixture_done(&f);
}

/* ---- the real file layer ---- */

struct tail_reader {
    struct fixture f; /* a copy: its own scratch and place */
    struct log *log;
    uint64_t until;
    int err;
};

static int follow_record(void *owner, uint64_t position, uint32_t events, struct span data)
{
    struct reading *r = owner;
    uint8_t *expected = r->f->scratch;
    fill_record(expected, (uint32_t)data.len, position - 1);
    if (position != r->next || memcmp(expected, data.data, data.len) != 0)
        return -PARLEY_ERR_CORRUPT;
    r->next = position + events;
    return 0;
}

static void *follow(void *arg)
{
    struct tail_reader *t = arg;
    struct reading r = {.f = &t->f, .next = 1};
    while (t->err == 0 && r.next < t->until) {
        t->err = log_read(t->log, r.next, UINT64_MAX, follow_record, &r);
        usleep(200);
    }
    return NULL;
}

static int remove_name(void *owner, const char *name)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/%s", (const char *)owner, name);
    return unlink(path) == 0 ? 0 : -PARLEY_ERR_IO;
}

static void a_real_disk_gives_back_what_it_got(void **state)
{
    (void)state;
    char dir[] = "./log-test-XXXXXX";
    assert_non_null(mkdtemp(dir));
    struct fixture f;
    fixture_init(&f, 14);
    f.dir = dir;
    f.segment_bytes = 2 << 20;
    f.helper_thread = true;
    assert_int_equal(file_layer_uring_create(NULL, &f.files), 0);
    must_open(&f);
    struct log *log = f.log;
    assert_int_equal(try_open(&f), -PARLEY_ERR_FULL); /* locked */
    assert_ptr_equal(log, f.log);
    struct tail_reader reader = {.f = f, .log = f.log, .until = 201};
    reader.f.scratch = malloc(LOG_BLOCK_BYTES_MAX);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, follow, &reader), 0);
    while (f.ledger_count < 200) {
        int err = try_append(&f, (uint32_t)(f.ledger_count * 7919 % RECORD_MAX), 1);
        assert_true(err == 0 || err == -PARLEY_ERR_FULL);
        log_poll(f.log, f.now_ms++);
    }
    while (!log_idle(f.log))
        log_poll(f.log, f.now_ms++);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(reader.err, 0);
    assert_int_equal(f.acked_end, 201);
    free(reader.f.scratch);
    log_close(&f.log);
    must_open(&f);
    assert_int_equal(f.report.mark, 201);
    check_reopened(&f);
    assert_int_equal(log_trim(f.log, 150), 0);
    f.trimmed_below = 150;
    assert_true(log_start(f.log) > 1);
    log_close(&f.log);
    must_open(&f);
    check_reopened(&f);
    log_close(&f.log);
    assert_int_equal(f.files->ops->list(f.files, dir, remove_name, dir), 0);
    assert_int_equal(rmdir(dir), 0);
    file_layer_uring_destroy(&f.files);
    fixture_done(&f);
}

/* The reactor's ring: it submits, and hands over the completions that are the layer's. */
static void a_shared_ring_is_shared(void **state)
{
    (void)state;
    char dir[] = "./log-test-XXXXXX";
    assert_non_null(mkdtemp(dir));
    struct io_uring ring;
    assert_int_equal(io_uring_queue_init(8, &ring, 0), 0);
    struct fixture f;
    fixture_init(&f, 15);
    f.dir = dir;
    assert_int_equal(file_layer_uring_create(&ring, &f.files), 0);
    must_open(&f);
    assert_false(file_layer_uring_owns(0));
    assert_false(file_layer_uring_owns((uint64_t)(uintptr_t)&f));
    must_append(&f, 100);
    log_poll(f.log, 0);
    assert_int_equal(f.acked_end, 1);
    struct io_uring_cqe *cqe;
    assert_int_equal(io_uring_submit_and_wait(&ring, 1), 1);
    assert_int_equal(io_uring_peek_cqe(&ring, &cqe), 0);
    uint64_t user_data = cqe->user_data;
    assert_true(file_layer_uring_owns(user_data));
    int result = cqe->res;
    io_uring_cqe_seen(&ring, cqe);
    file_layer_uring_complete(user_data, result);
    assert_int_equal(f.acked_end, 2);
    /* The log closes while a completion of somebody else waits in the ring: it is still there afterwards. */
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
    io_uring_prep_nop(sqe);
    io_uring_sqe_set_data64(sqe, 77);
    must_append(&f, 100);
    log_close(&f.log);
    assert_int_equal(f.acked_end, 3);
    uint32_t others = 0;
    while (io_uring_peek_cqe(&ring, &cqe) == 0) {
        others += cqe->user_data == 77;
        assert_true(cqe->user_data == 77 || cqe->user_data == 0);
        io_uring_cqe_seen(&ring, cqe);
    }
    assert_int_equal(others, 1);
    assert_int_equal(f.files->ops->list(f.files, dir, remove_name, dir), 0);
    assert_int_equal(rmdir(dir), 0);
    file_layer_uring_destroy(&f.files);
    io_uring_queue_exit(&ring);
    fixture_done(&f);
}

static void opening_survives_every_failed_allocation(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 16);
    f.blind = true;
    must_open(&f);
    append_blocks(&f, 12, 9000);
    log_close(&f.log);
    uint64_t failures = 0;
    int err;
    do {
        memory_fail_after(failures, 1);
        err = try_open(&f);
        memory_fail_after(0, 0);
        assert_true(err == 0 || err == -PARLEY_ERR_NOMEM);
        failures += err != 0;
    } while (err != 0);
    assert_true(failures >= 6);
    check_contents(&f);
    fixture_done(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_come_back_after_reopening),
        cmocka_unit_test(one_write_commits_a_group),
        cmocka_unit_test(counters_add_up),
        cmocka_unit_test(ceilings_rise_and_survive),
        cmocka_unit_test(crashes_lose_nothing_acknowledged),
        cmocka_unit_test(flipped_bits_are_found),
        cmocka_unit_test(a_flipped_mark_or_padding_is_harmless),
        cmocka_unit_test(every_truncation_is_found),
        cmocka_unit_test(an_end_below_the_mark_is_lost),
        cmocka_unit_test(a_hole_before_a_valid_block_is_damage),
        cmocka_unit_test(a_payload_is_never_taken_for_a_header),
        cmocka_unit_test(nothing_is_durable_after_a_failure),
        cmocka_unit_test(a_block_after_a_failed_mark_is_not_announced),
        cmocka_unit_test(segments_follow_and_are_trimmed),
        cmocka_unit_test(trimming_spares_the_last_durable_block),
        cmocka_unit_test(a_missing_or_damaged_older_segment_is_refused),
        cmocka_unit_test(a_full_log_refuses_and_recovers),
        cmocka_unit_test(a_full_disk_refuses_and_recovers),
        cmocka_unit_test(a_reader_overtaken_by_trimming_is_told),
        cmocka_unit_test(a_reader_serves_nothing_damaged),
        cmocka_unit_test(a_real_disk_gives_back_what_it_got),
        cmocka_unit_test(a_shared_ring_is_shared),
        cmocka_unit_test(opening_survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
