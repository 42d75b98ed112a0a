/* storage/log_recover.h: a log of known records, whose disk the input damages: bytes changed, sectors zeroed, overwritten or
 * copied, files cut or gone. The log opens with a prefix of the records (of those that are kept), all when
 * the mark says so, and goes on; or it
 * refuses and says where. With headers sealed anew (a forger who knows the salt) only its composure is asked for. */
#include <stdio.h>

#include "src/base/crc32c.h"
#include "src/base/error.h"
#include "storage/log.h"
#include "storage/log_block.h"
#include "tests/fuzz/fuzz.h"
#include "tests/lib/sim_file.h"

enum { SEGMENT_BYTES = 32 << 10, RECORDS = 14, RECORD_BYTES_MAX = 6000, DAMAGE_MAX = 12, NAME_HEX = 17 };
enum { XOR, ZERO, OVERWRITE, COPY, TRUNCATE, REMOVE, SEAL, DAMAGE_COUNT };

struct record {
    uint64_t position;
    uint32_t events, len;
};

static struct record ledger[RECORDS + 1];
static struct sim_file *marked, *unmarked; /* closed in peace; as a power cut leaves it */
static uint64_t full_end;

static uint64_t ceiling(void *owner)
{
    (void)owner;
    return 1000;
}

static void on_durable(void *owner, uint64_t end)
{
    (void)owner, (void)end;
}

static void on_fatal(void *owner, int err, const char *what)
{
    (void)owner, (void)err, (void)what;
    parley_assert(!"a sound disk does not fail");
}

static int open_log(struct sim_file *disk, struct log_report *report, struct log **out)
{
    const struct log_options options = {.dir = "log",
                                        .files = sim_file_layer(disk),
                                        .segment_bytes = SEGMENT_BYTES,
                                        .on_durable = on_durable,
                                        .on_fatal = on_fatal,
                                        .ceiling = ceiling};
    *report = (struct log_report){0};
    return log_open(&options, report, out);
}

static void fill(uint8_t *data, uint32_t n)
{
    for (uint32_t i = 0; i < ledger[n].len; i++)
        data[i] = (uint8_t)(n * 31 + i * 7 + 1);
}

static void append(struct log *log, struct sim_file *disk, uint32_t n)
{
    uint8_t data[RECORD_BYTES_MAX];
    ledger[n].events = 1 + n % 3;
    ledger[n].len = n % 4 == 3 ? RECORD_BYTES_MAX : 10 + 300 * (n % 5);
    fill(data, n);
    for (;;) { /* a helper makes the next segment meanwhile */
        int err = log_append(log, data, ledger[n].len, ledger[n].events, &ledger[n].position);
        parley_assert(err == 0 || err == -PARLEY_ERR_FULL);
        log_poll(log, 1);
        if (err == 0 && n % 3 == 1)
            return; /* shares its block with the next */
        while (!log_idle(log)) {
            sim_file_layer(disk)->ops->poll(sim_file_layer(disk), true);
            log_poll(log, 1);
        }
        if (err == 0)
            return;
    }
}

static void make_logs(void)
{
    struct log_report report;
    struct log *log = NULL;
    marked = sim_file_create(1);
    int err = open_log(marked, &report, &log);
    parley_assert(err == 0);
    for (uint32_t n = 0; n < RECORDS; n++)
        append(log, marked, n);
    full_end = log_next(log);
    unmarked = sim_file_clone(marked);
    log_close(&log);
}

/* -- damage */

static void seal_header(uint8_t *block, uint32_t salt)
{
    struct bytes_writer w = bytes_writer_of(block + LOG_BLOCK_HEADER_BYTES - 4, 4);
    bytes_put_u32(&w, crc32c(salt, block, LOG_BLOCK_HEADER_BYTES - 4));
}

static void overwrite(uint8_t *to, size_t room, struct span s)
{
    if (s.len)
        memcpy(to, s.data, s.len < room ? s.len : room);
}

struct harm {
    bool forged; /* sealed by somebody who knows the salt */
    bool mark;   /* the newer of its slots may be gone: then the older one speaks, of less */
};

static void damage(struct sim_file *disk, struct bytes_reader *r, struct harm *harm)
{
    uint32_t kind = fuzz_below(r, DAMAGE_COUNT);
    const char *path = sim_file_find(disk, fuzz_below(r, 4) ? ".seg" : "mark", fuzz_below(r, 4));
    uint64_t len, at = bytes_get_u16(r);
    uint8_t *data, value = bytes_get_u8(r);
    if (!path || !sim_file_bytes(disk, path, &data, &len) || at >= len)
        return;
    harm->mark = harm->mark || strstr(path, "mark");
    size_t sector = at / LOG_BLOCK_ALIGN * LOG_BLOCK_ALIGN, room = (size_t)len - sector, from;
    size_t whole = room < LOG_BLOCK_ALIGN ? room : (size_t)LOG_BLOCK_ALIGN;
    switch (kind) {
    case XOR:
        data[at] ^= value;
        break;
    case ZERO:
        memset(data + sector, 0, whole);
        break;
    case OVERWRITE:
        overwrite(data + sector, room, bytes_get_span(r));
        break;
    case COPY: /* a sector of the same file, where it does not belong */
        from = (size_t)value * LOG_BLOCK_ALIGN % (size_t)len;
        memmove(data + sector, data + from, len - from < whole ? (size_t)len - from : whole);
        break;
    case TRUNCATE:
        sim_file_truncate(disk, path, at);
        break;
    case REMOVE: {
        struct file_layer *files = sim_file_layer(disk);
        char name[256];
        snprintf(name, sizeof name, "%s", path); /* it goes with the file */
        int err = files->ops->unlink(files, name);
        parley_assert(err == 0);
        break;
    }
    case SEAL:
        if (strstr(path, ".seg") && whole == LOG_BLOCK_ALIGN)
            seal_header(data + sector, (uint32_t)strtoul(strrchr(path, '/') + 1 + NAME_HEX, NULL, 16));
        harm->forged = true;
        break;
    }
}

/* -- what is there */

struct reading {
    uint32_t n;
    bool forged;
};

static int on_record(void *owner, uint64_t position, uint32_t events, struct span data)
{
    struct reading *reading = owner;
    uint8_t wanted[RECORD_BYTES_MAX];
    uint32_t n = reading->n++;
    if (reading->forged)
        return 0;
    parley_assert(n <= RECORDS && position == ledger[n].position && events == ledger[n].events);
    fill(wanted, n);
    parley_assert(fuzz_same(data, (struct span){wanted, ledger[n].len}));
    return 0;
}

/* The number of the record behind the last. A first segment that is gone looks like one that was trimmed; whoever needs it
 * compares log_start with his own position. */
static uint32_t read_all(struct log *log, bool forged)
{
    struct reading reading = {.forged = forged};
    while (!forged && ledger[reading.n].position < log_start(log))
        reading.n++;
    int err = log_read(log, log_start(log), log_end(log), on_record, &reading);
    parley_assert(err == 0 || forged);
    return reading.n;
}

/* What was repaired can be written to, closed and opened again. */
static void go_on(struct sim_file *disk, struct log **log)
{
    struct log_report report;
    uint32_t n = read_all(*log, false);
    struct record kept = ledger[n];
    parley_assert(n == RECORDS || log_end(*log) == ledger[n].position);
    append(*log, disk, n);
    log_close(log);
    int err = open_log(disk, &report, log);
    parley_assert(err == 0 && report.torn_bytes == 0 && read_all(*log, false) == n + 1);
    ledger[n] = kept;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct bytes_reader r = bytes_reader_of(data, len);
    struct log_report report;
    struct log *log = NULL;
    struct harm harm = {0};
    bool cut = bytes_get_u8(&r) & 1;
    if (!marked)
        make_logs();
    struct sim_file *disk = sim_file_clone(cut ? unmarked : marked);
    for (int i = 0; i < DAMAGE_MAX && r.at < r.end; i++)
        damage(disk, &r, &harm);
    int err = open_log(disk, &report, &log);
    if (err) {
        parley_assert(err == -PARLEY_ERR_CORRUPT || err == -PARLEY_ERR_LOST);
        parley_assert(report.text[0] && report.file[0] && memchr(report.text, 0, sizeof report.text));
    } else if (harm.forged) {
        (void)read_all(log, true);
    } else {
        parley_assert(log_end(log) >= report.mark && (cut || harm.mark || log_end(log) == full_end));
        go_on(disk, &log);
    }
    log_close(&log);
    sim_file_destroy(&disk);
    return 0;
}
