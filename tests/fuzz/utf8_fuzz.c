/* src/base/utf8.h and net/utf8_stream.h: two readers of UTF-8, one fast, one in pieces, and both agree with jansson. */
#include <jansson.h>

#include "net/utf8_stream.h"
#include "src/base/utf8.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct span text = {data, len};
    bool valid = utf8_valid(text);
    parley_assert(utf8_stream_valid(data, len) == valid);
    for (size_t cut = 0; cut <= len && cut < 64; cut++) {
        struct utf8_stream s = {0};
        bool fed = utf8_stream_feed(&s, data, cut) && utf8_stream_feed(&s, data + cut, len - cut);
        parley_assert((fed && utf8_stream_done(&s)) == valid);
    }
    json_t *oracle = json_stringn((const char *)data, len);
    parley_assert((oracle != NULL) == valid);
    json_decref(oracle);
    return 0;
}
