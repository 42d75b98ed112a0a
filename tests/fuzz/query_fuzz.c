/* net/query.h: a target that is accepted is clean text, and means the same when it is written anew in percent signs. */
#include "net/query.h"
#include "src/base/utf8.h"
#include "tests/fuzz/fuzz.h"

enum { PARAMS = 3 };

static const char HEX[] = "0123456789ABCDEF";

/* Every byte as %XX: the longest spelling that there is. */
static size_t spell(uint8_t *to, struct span s)
{
    for (size_t i = 0; i < s.len; i++) {
        to[3 * i] = '%';
        to[3 * i + 1] = (uint8_t)HEX[s.data[i] >> 4];
        to[3 * i + 2] = (uint8_t)HEX[s.data[i] & 15];
    }
    return 3 * s.len;
}

static struct query_scratch scratch_of(uint8_t **room, size_t len)
{
    *room = malloc(len);
    parley_assert(*room || len == 0);
    return query_scratch_of(*room, len);
}

static void check_text(struct span s)
{
    parley_assert(utf8_valid(s));
    for (size_t i = 0; i < s.len; i++)
        parley_assert(s.data[i] >= ' ' && s.data[i] != 0x7f);
}

static void check_path(struct span path)
{
    struct query_path had, again;
    uint8_t *room, *room_again, *spelled = malloc(3 * path.len + 1);
    struct query_scratch scratch = scratch_of(&room, path.len);
    parley_assert(spelled);
    if (query_path(path, &scratch, &had) == 0) {
        size_t len = 0;
        for (size_t i = 0; i < had.count; i++) {
            struct span s = had.segments[i];
            check_text(s);
            parley_assert(s.len > 0 && !memchr(s.data, '/', s.len) && !fuzz_is(s, ".") && !fuzz_is(s, ".."));
            spelled[len++] = '/';
            len += spell(spelled + len, s);
        }
        if (had.count == 0)
            spelled[len++] = '/';
        scratch = scratch_of(&room_again, len);
        parley_assert(query_path((struct span){spelled, len}, &scratch, &again) == 0 &&
                      again.count == had.count);
        for (size_t i = 0; i < had.count; i++)
            parley_assert(fuzz_same(had.segments[i], again.segments[i]));
        free(room_again);
    }
    free(spelled);
    free(room);
}

static void check_query(struct span query)
{
    static const char *const names[PARAMS] = {"after", "limit", "as"};
    struct query_param had[PARAMS], again[PARAMS];
    uint8_t *room, *room_again, *spelled = malloc(3 * query.len + 32);
    struct query_scratch scratch = scratch_of(&room, query.len);
    parley_assert(spelled);
    for (size_t i = 0; i < PARAMS; i++)
        had[i].name = again[i].name = names[i];
    if (query_read(query, &scratch, had, PARAMS, NULL) == 0) {
        size_t len = 0;
        for (size_t i = 0; i < PARAMS; i++) {
            if (!had[i].present)
                continue;
            check_text(had[i].value);
            len += spell(spelled + len, (struct span){(const uint8_t *)names[i], strlen(names[i])});
            spelled[len++] = '=';
            len += spell(spelled + len, had[i].value);
            spelled[len++] = '&';
        }
        scratch = scratch_of(&room_again, len);
        parley_assert(query_read((struct span){spelled, len}, &scratch, again, PARAMS, NULL) == 0);
        for (size_t i = 0; i < PARAMS; i++)
            parley_assert(had[i].present == again[i].present && fuzz_same(had[i].value, again[i].value));
        free(room_again);
    }
    free(spelled);
    free(room);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct span path, query;
    query_split((struct span){data, len}, &path, &query);
    parley_assert(path.len + query.len + (path.len != len) == len);
    check_path(path);
    check_query(query);
    return 0;
}
