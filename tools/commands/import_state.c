#include "tools/commands/import_state.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/base/crc32c.h"
#include "src/base/error.h"
#include "tools/client/text.h"
#include "tools/commands/message_print.h"

enum { IDENTIFY_BYTES = 64 * 1024 };

int import_state_identify(int fd, struct import_state *state)
{
    uint8_t head[IDENTIFY_BYTES];
    struct stat st;
    ssize_t n = pread(fd, head, sizeof head, 0);
    if (n < 0 || fstat(fd, &st) != 0)
        return -PARLEY_ERR_IO;
    state->bytes = (uint64_t)st.st_size;
    state->crc = crc32c(0, head, (size_t)n);
    return 0;
}

uint64_t import_state_load(const char *path, const struct import_state *mine)
{
    json_t *root = json_load_file(path, 0, NULL);
    bool same = (uint64_t)json_integer_value(json_object_get(root, "bytes")) == mine->bytes &&
                (uint64_t)json_integer_value(json_object_get(root, "crc")) == mine->crc &&
                strcmp(json_words(root, "conversation"), mine->conversation) == 0;
    json_int_t lines = same ? json_integer_value(json_object_get(root, "lines")) : 0;
    json_decref(root);
    return lines > 0 ? (uint64_t)lines : 0;
}

int import_state_save(const char *path, const struct import_state *state)
{
    struct text other = {0};
    text_put_words(&other, path);
    text_put_words(&other, ".new");
    const char *name = text_words(&other);
    FILE *f = other.failed ? NULL : fopen(name, "we");
    bool good = f && fprintf(f, "{\"bytes\":%llu,\"crc\":%u,\"conversation\":\"%s\",\"lines\":%llu}\n",
                             (unsigned long long)state->bytes, state->crc, state->conversation,
                             (unsigned long long)state->lines) > 0;
    if (f && fclose(f) != 0)
        good = false;
    good = good && rename(name, path) == 0;
    text_free(&other);
    return good ? 0 : -PARLEY_ERR_IO;
}
