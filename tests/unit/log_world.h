/* tests/unit/log_world.h: a log on a simulated disk, and a ledger of what it was given and what it acknowledged. */
#ifndef PARLEY_TESTS_UNIT_LOG_WORLD_H
#define PARLEY_TESTS_UNIT_LOG_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "src/base/error.h"
#include "storage/file.h"
#include "storage/log.h"
#include "storage/log_block.h"
#include "tests/lib/sim_file.h"

enum { SEGMENT_BYTES = 64 << 10, LEDGER_MAX = 1 << 16, RECORD_MAX = 48 << 10 };

/* What was appended, and what was acknowledged. */
struct entry {
    uint64_t position, tag;
    uint32_t events, len;
};

struct fixture {
    struct sim_file *sim;
    struct file_layer *files;
    struct log *log;
    struct log_report report;
    const char *dir;
    uint64_t segment_bytes, now_ms, acked_end, acked_ceiling, ceiling, next_tag, trimmed_below;
    uint32_t fatal_count, acks_after_fatal, ack_count;
    bool helper_thread;
    bool blind; /* it opens without having looked */
    struct entry *ledger;
    size_t ledger_count;
    uint8_t *scratch;
};

static inline void on_durable(void *owner, uint64_t end)
{
    struct fixture *f = owner;
    assert_true(end >= f->acked_end);
    f->acked_end = end;
    f->ack_count++;
    f->acks_after_fatal += f->fatal_count > 0;
    if (f->log != NULL) {
        assert_true(log_ceiling(f->log) >= f->acked_ceiling);
        f->acked_ceiling = log_ceiling(f->log);
    }
}

static inline void on_fatal(void *owner, int err, const char *what)
{
    struct fixture *f = owner;
    assert_true(err < 0 && what != NULL);
    f->fatal_count++;
}

static inline uint64_t give_ceiling(void *owner)
{
    struct fixture *f = owner;
    return ++f->ceiling;
}

static inline void fixture_init(struct fixture *f, uint64_t seed)
{
    *f = (struct fixture){.dir = "log", .segment_bytes = SEGMENT_BYTES, .acked_end = 1};
    f->sim = sim_file_create(seed);
    f->files = sim_file_layer(f->sim);
    f->ledger = calloc(LEDGER_MAX, sizeof(*f->ledger));
    f->scratch = malloc(LOG_BLOCK_BYTES_MAX);
    assert_true(f->ledger != NULL && f->scratch != NULL);
}

static inline void fixture_done(struct fixture *f)
{
    log_close(&f->log);
    sim_file_destroy(&f->sim);
    free(f->ledger);
    free(f->scratch);
}

static inline int try_open(struct fixture *f)
{
    const struct log_options options = {.dir = f->dir,
                                        .files = f->files,
                                        .segment_bytes = f->segment_bytes,
                                        .helper_thread = f->helper_thread,
                                        .owner = f,
                                        .on_durable = on_durable,
                                        .on_fatal = on_fatal,
                                        .ceiling = give_ceiling};
    f->fatal_count = f->acks_after_fatal = 0;
    if (f->blind)
        return log_open(&options, &f->report, &f->log);
    struct log_report looked;
    struct log *seen;
    int verdict, looking = log_inspect(&options, &looked, &verdict, &seen);
    int err = log_open(&options, &f->report, &f->log);
    if (looking == 0 && (err == 0 || err == -PARLEY_ERR_CORRUPT || err == -PARLEY_ERR_LOST)) {
        assert_int_equal(verdict, err); /* who only looks sees the same */
        assert_int_equal(looked.torn_bytes, f->report.torn_bytes);
        if (err == 0)
            assert_int_equal(looked.end, f->report.end);
        else
            assert_string_equal(looked.text, f->report.text);
    }
    log_close(&seen);
    return err;
}

static inline void must_open(struct fixture *f)
{
    int err = try_open(f);
    if (err != 0)
        print_error("%s at %llu: %s\n", f->report.file, (unsigned long long)f->report.offset, f->report.text);
    assert_int_equal(err, 0);
}

static inline void fill_record(uint8_t *data, uint32_t len, uint64_t tag)
{
    uint64_t x = tag * 0x9e3779b97f4a7c15ULL + 1;
    for (uint32_t i = 0; i < len; i += sizeof(x)) {
        x = x * 6364136223846793005ULL + 1442695040888963407ULL;
        memcpy(data + i, &x, len - i < sizeof(x) ? len - i : sizeof(x));
    }
}

static inline int try_append(struct fixture *f, uint32_t len, uint32_t events)
{
    uint64_t position;
    fill_record(f->scratch, len, f->next_tag);
    uint64_t expected = log_next(f->log);
    int err = log_append(f->log, f->scratch, len, events, &position);
    if (err != 0) {
        assert_int_equal(log_next(f->log), expected);
        return err;
    }
    assert_int_equal(position, expected);
    assert_true(f->ledger_count < LEDGER_MAX);
    f->ledger[f->ledger_count++] =
        (struct entry){.position = position, .tag = f->next_tag++, .events = events, .len = len};
    return 0;
}

static inline void settle(struct fixture *f)
{
    for (int i = 0; i < 1000 && (i < 3 || !log_idle(f->log)); i++)
        log_poll(f->log, f->now_ms);
}

static inline void must_append(struct fixture *f, uint32_t len)
{
    int err = try_append(f, len, 1);
    if (err == -PARLEY_ERR_FULL) {
        settle(f);
        err = try_append(f, len, 1);
    }
    assert_int_equal(err, 0);
}

/* One block per record. */
static inline void append_blocks(struct fixture *f, uint32_t count, uint32_t len)
{
    for (uint32_t i = 0; i < count; i++) {
        must_append(f, len);
        settle(f);
    }
}

static inline void write_mark(struct fixture *f)
{
    settle(f);
    f->now_ms += 1000;
    settle(f);
}

struct reading {
    struct fixture *f;
    size_t at;
    uint64_t next;
};

static inline int check_record(void *owner, uint64_t position, uint32_t events, struct span data)
{
    struct reading *r = owner;
    struct fixture *f = r->f;
    while (r->at < f->ledger_count && f->ledger[r->at].position < position)
        r->at++;
    assert_true(r->at < f->ledger_count);
    const struct entry *e = &f->ledger[r->at];
    assert_int_equal(e->position, position);
    assert_int_equal(r->next, position);
    assert_int_equal(e->events, events);
    assert_int_equal(e->len, data.len);
    fill_record(f->scratch, e->len, e->tag);
    assert_true(data.len == 0 || memcmp(f->scratch, data.data, data.len) == 0);
    r->next = position + events;
    return 0;
}

/* Everything durable is what the ledger says, once, in order, from the log's start to its end. */
static inline void check_contents(struct fixture *f)
{
    struct reading r = {.f = f, .next = log_start(f->log)};
    assert_int_equal(log_read(f->log, r.next, UINT64_MAX, check_record, &r), 0);
    assert_int_equal(r.next, log_end(f->log));
}

/* After a reopen: what was acknowledged is there; what is not there is forgotten by the ledger too. */
static inline void check_reopened(struct fixture *f)
{
    assert_true(log_end(f->log) >= f->acked_end);
    assert_true(log_start(f->log) <= (f->trimmed_below > 1 ? f->trimmed_below : 1));
    assert_true(log_ceiling(f->log) >= f->acked_ceiling);
    while (f->ledger_count > 0 && f->ledger[f->ledger_count - 1].position >= log_end(f->log))
        f->ledger_count--;
    f->acked_end = log_end(f->log);
    check_contents(f);
}

static inline void crash_and_reopen(struct fixture *f, bool tear)
{
    sim_file_crash(f->sim, tear);
    log_close(&f->log);
    sim_file_restart(f->sim);
    must_open(f);
    check_reopened(f);
}

/* The report of a recovery of a copy; the copy is thrown away. */
static inline int recover_copy(struct fixture *f, const struct sim_file *disk, struct fixture *copy)
{
    *copy = *f;
    copy->log = NULL;
    copy->sim = sim_file_clone(disk);
    copy->files = sim_file_layer(copy->sim);
    return try_open(copy);
}

static inline void drop_copy(struct fixture *copy)
{
    log_close(&copy->log);
    sim_file_destroy(&copy->sim);
}

#endif
