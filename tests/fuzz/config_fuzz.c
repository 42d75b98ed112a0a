/* src/server/config.h: the input is a configuration file, an environment and a command line, a part to each zero byte. What is
 * loaded is printed as a file that loads as the same; what is refused is refused with a sentence. */
#include <stdio.h>
#include <unistd.h>
#include <sys/mman.h>

#include "src/base/error.h"
#include "src/server/config.h"
#include "tests/fuzz/fuzz.h"

enum { WORDS_MAX = 8, PATH_BYTES = 64 };

/* An open file with the bytes; `path` names it. */
static int file_of(struct span bytes, char path[PATH_BYTES])
{
    int fd = memfd_create("config", MFD_CLOEXEC);
    parley_assert(fd >= 0 && write(fd, bytes.data, bytes.len) == (ssize_t)bytes.len);
    snprintf(path, PATH_BYTES, "/proc/self/fd/%d", fd);
    return fd;
}

static struct span print(const struct config *config)
{
    char *printed = NULL;
    size_t len = 0;
    FILE *to = open_memstream(&printed, &len);
    parley_assert(to);
    config_print(config, to);
    fclose(to);
    return (struct span){(uint8_t *)printed, len};
}

/* As texts: behind a short value there may be what is left of a longer one. */
static void check_again(const struct config *had)
{
    char path[PATH_BYTES], text[CONFIG_TEXT_BYTES];
    char name[] = "parleyd", flag[] = "--config", *argv[] = {name, flag, path, NULL}, *none[] = {NULL};
    struct config again;
    enum config_action action;
    struct span printed = print(had);
    int fd = file_of(printed, path);
    int err = config_load(3, argv, none, &again, &action, text);
    if (err)
        fprintf(stderr, "%s\n%s\n", (const char *)printed.data, text);
    parley_assert(err == 0);
    memcpy(again.origin, had->origin, sizeof again.origin); /* where from is another thing */
    struct span printed_again = print(&again);
    parley_assert(fuzz_same(printed, printed_again));
    close(fd);
    free((void *)printed.data);
    free((void *)printed_again.data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct bytes_reader r = bytes_reader_of(data, len);
    struct span file = fuzz_until(&r, 0);
    char path[PATH_BYTES], text[CONFIG_TEXT_BYTES] = "";
    char name[] = "parleyd", flag[] = "--config", *words[WORDS_MAX], *variables[WORDS_MAX + 1] = {NULL};
    char *argv[WORDS_MAX + 4] = {name, flag, path};
    int count = 0, argc = 3, fd = file_of(file, path);
    struct config config;
    enum config_action action;
    uint32_t variable_count = fuzz_below(&r, WORDS_MAX);
    for (; count < WORDS_MAX && r.at < r.end; count++) {
        words[count] = fuzz_words(fuzz_until(&r, 0));
        if ((uint32_t)count < variable_count)
            variables[count] = words[count];
        else
            argv[argc++] = words[count];
    }
    int err = config_load(argc, argv, variables, &config, &action, text);
    parley_assert(err == 0 || (err == -PARLEY_ERR_BAD_REQUEST && text[0] && memchr(text, 0, sizeof text)));
    if (err == 0 && action != CONFIG_HELP)
        check_again(&config);
    while (count)
        free(words[--count]);
    close(fd);
    return 0;
}
