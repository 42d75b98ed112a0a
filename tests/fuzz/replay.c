/* Runs a fuzz target over files: replay FILE|FOLDER... Each is named before it is run, so that the last name is that of a
 * failure. */
#include <dirent.h>
#include <stdio.h>
#include <sys/stat.h>

#include "tests/fuzz/fuzz.h"

enum { PATH_BYTES = 4096 };

static unsigned run_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    struct stat st;
    if (!file || fstat(fileno(file), &st) != 0) {
        perror(path);
        exit(1);
    }
    size_t len = (size_t)st.st_size;
    uint8_t *data = malloc(len);
    bool whole = (data || len == 0) && fread(data, 1, len, file) == len;
    fclose(file);
    parley_assert(whole);
    fprintf(stderr, "%s\n", path);
    LLVMFuzzerTestOneInput(data, len);
    free(data);
    return 1;
}

static unsigned run_folder(const char *path, DIR *folder)
{
    unsigned count = 0;
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        char file[PATH_BYTES];
        if (entry->d_name[0] == '.')
            continue;
        snprintf(file, sizeof file, "%s/%s", path, entry->d_name);
        count += run_file(file);
    }
    return count;
}

int main(int argc, char **argv)
{
    unsigned count = 0;
    for (int i = 1; i < argc; i++) {
        DIR *folder = opendir(argv[i]);
        count += folder ? run_folder(argv[i], folder) : run_file(argv[i]);
        if (folder)
            closedir(folder);
    }
    printf("%u inputs\n", count);
    return count ? 0 : 1; /* nothing to run is no success */
}
