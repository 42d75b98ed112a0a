/* tools/client/url.h: a server's address that is accepted is put together again as one that means the same. */
#include <stdio.h>

#include "tests/fuzz/fuzz.h"
#include "tools/client/url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    char *text = fuzz_words((struct span){data, len});
    char spelled[URL_HOST_BYTES + URL_PORT_BYTES + URL_PREFIX_BYTES + 16];
    struct url url, again;
    if (url_parse(text, &url) == 0) {
        parley_assert(strlen(url.host) < sizeof url.host && url.host[0] && atoi(url.port) > 0);
        parley_assert(!url.prefix[0] || (url.prefix[0] == '/' && url.prefix[strlen(url.prefix) - 1] != '/'));
        for (const char *c = text; *c; c++)
            parley_assert((unsigned char)*c > ' ' &&
                          *c != 0x7f); /* nothing that could end a request's line */
        snprintf(spelled, sizeof spelled, "http://[%s]:%s%s/", url.host, url.port, url.prefix);
        int err = url_parse(spelled, &again);
        parley_assert(err == 0 && !strcmp(url.host, again.host) && !strcmp(url.port, again.port) &&
                      !strcmp(url.prefix, again.prefix));
    }
    free(text);
    return 0;
}
