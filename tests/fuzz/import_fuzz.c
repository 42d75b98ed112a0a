/* tools/commands/import_plan.h and what it reads with: the input as a file to import, plain, or packed by gzip and then damaged.
 * The counts add up, and jansson finds the same good lines. */
#include <jansson.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>

#include "src/base/error.h"
#include "tests/fuzz/fuzz.h"
#include "tools/commands/import_line.h"
#include "tools/commands/import_plan.h"

enum { PACKED_BYTES_MAX = 1 << 16, FILE_BYTES_MAX = 1 << 15 };

static bool never(void)
{
    return false;
}

static int file_of(struct span bytes)
{
    int fd = memfd_create("import", MFD_CLOEXEC);
    parley_assert(fd >= 0 && write(fd, bytes.data, bytes.len) == (ssize_t)bytes.len);
    return fd;
}

static size_t pack(struct span s, uint8_t *out)
{
    z_stream z = {.next_in = (uint8_t *)(uintptr_t)s.data,
                  .avail_in = (uInt)s.len,
                  .next_out = out,
                  .avail_out = PACKED_BYTES_MAX};
    int err = deflateInit2(&z, 1, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
    parley_assert(err == Z_OK && deflate(&z, Z_FINISH) == Z_STREAM_END);
    deflateEnd(&z);
    return z.total_out;
}

static size_t text_len(const json_t *tree, const char *name)
{
    return json_string_length(json_object_get(tree, name));
}

/* What import_line.h says of a line, by jansson; the time apart. */
static bool line_good(struct span line)
{
    json_t *tree =
        json_loadb((const char *)line.data, line.len, JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, NULL);
    size_t sender = text_len(tree, "sender");
    bool good = text_len(tree, "conversation") > 0 && sender > 0 && sender <= IMPORT_SENDER_BYTES_MAX &&
                text_len(tree, "text") > 0;
    const json_t *time = json_object_get(tree, "time");
    uint64_t ms;
    struct span text = {(const uint8_t *)json_string_value(time), json_string_length(time)};
    good =
        good && (!time || json_is_null(time) || (json_is_string(time) && import_line_time(text, &ms) == 0));
    json_decref(tree);
    return good;
}

/* Lines that jansson finds good; more than the plan's when they are nested deeper than we read, or hold large numbers. */
static uint64_t count_good(struct span file)
{
    struct bytes_reader r = bytes_reader_of(file.data, file.len);
    uint64_t good = 0;
    while (r.at < r.end)
        good += line_good(fuzz_until(&r, '\n'));
    return good;
}

static int read_plan(struct span file, bool strict, struct import_plan *plan)
{
    struct progress progress;
    int fd = file_of(file);
    struct plan_source source = {
        .name = "fuzz", .fd = fd, .bytes = file.len, .strict = strict, .stopped = never};
    progress_begin(&progress, "messages", true);
    int err = import_plan_read(plan, &source, &progress);
    close(fd);
    return err;
}

static void check_plan(const struct import_plan *plan)
{
    uint64_t members = 0;
    parley_assert(plan->lines == plan->good + plan->bad + plan->empty);
    for (uint32_t i = 0; i < plan->conversations.count; i++) {
        const struct plan_conversation *c = &plan->list[i];
        members += c->member_count;
        parley_assert(names_find(&plan->conversations, plan->conversations.list[i]) == i &&
                      c->member_count > 0);
        for (uint32_t n = 0; n < c->member_count; n++) {
            parley_assert(c->members[n] < plan->people.count);
            for (uint32_t before = 0; before < n; before++) /* each once */
                parley_assert(c->members[before] != c->members[n]);
        }
    }
    parley_assert(members == plan->pair_count && members <= plan->good);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static uint8_t packed[PACKED_BYTES_MAX];
    struct bytes_reader r = bytes_reader_of(data, len);
    struct import_plan plan = {0};
    bool gzip = bytes_get_u8(&r) & 1;
    uint8_t at = bytes_get_u8(&r), value = bytes_get_u8(&r);
    struct span file = fuzz_rest(&r);
    if (file.len == 0 || file.len > FILE_BYTES_MAX)
        return 0;
    if (gzip) {
        size_t packed_len = pack(file, packed);
        packed[at % packed_len] ^= value;
        int err = read_plan((struct span){packed, packed_len}, false, &plan);
        parley_assert(err == 0 || err == -PARLEY_ERR_CORRUPT);
    } else {
        int err = read_plan(file, false, &plan);
        parley_assert(err == 0 || err == -PARLEY_ERR_CORRUPT); /* it may look like gzip */
        if (err == 0 && !(file.len > 1 && file.data[0] == 0x1f && file.data[1] == 0x8b)) {
            check_plan(&plan);
            parley_assert(plan.good <= count_good(file));
        }
    }
    import_plan_clear(&plan);
    return 0;
}
