/* net/http_head.h: whatever it accepts, libh2o's own parser reads in the same way; and no cut of it looks finished. */
#include "net/http_head.h"
#include "src/base/error.h"
#include "tests/fuzz/fuzz.h"

enum { HEADERS_MAX = 128 };

/* picohttpparser, inside of libh2o, which does not install its header. */
struct phr_header {
    const char *name;
    size_t name_len;
    const char *value;
    size_t value_len;
};
int phr_parse_request(const char *buf, size_t len, const char **method, size_t *method_len, const char **path,
                      size_t *path_len, int *minor_version, struct phr_header *headers, size_t *num_headers,
                      size_t last_len);

static void check_with_h2o(const uint8_t *data, size_t len, const struct http_head *head)
{
    struct phr_header headers[HEADERS_MAX];
    size_t count = HEADERS_MAX, method_len, path_len;
    const char *method, *path;
    int minor;
    int used = phr_parse_request((const char *)data, len, &method, &method_len, &path, &path_len, &minor,
                                 headers, &count, 0);
    parley_assert(used > 0 && (size_t)used == head->head_bytes);
    parley_assert(count == head->field_count && minor == head->http_1_1);
    parley_assert(fuzz_same(head->method, (struct span){(const uint8_t *)method, method_len}));
    parley_assert(fuzz_same(head->target, (struct span){(const uint8_t *)path, path_len}));
    for (size_t i = 0; i < count; i++)
        parley_assert(headers[i].name); /* NULL: a folded line */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct http_head head, cut_head;
    int err = http_head_scan(data, len, &head);
    /* Parts of it, on their own: nothing accepted is refused on its way here, nothing refused becomes good. */
    for (size_t cut = 0; cut < len && cut < 512; cut++) {
        uint8_t *part = fuzz_copy((struct span){data, cut});
        int cut_err = http_head_scan(part, cut, &cut_head);
        if (err == 0)
            parley_assert(cut_err == (cut < head.head_bytes ? -PARLEY_ERR_AGAIN : 0));
        else
            parley_assert(cut_err == -PARLEY_ERR_AGAIN || cut_err == err);
        free(part);
    }
    if (err)
        return 0;
    parley_assert(head.head_bytes <= len && head.field_count <= HTTP_HEAD_FIELD_COUNT_MAX);
    check_with_h2o(data, len, &head);
    return 0;
}
