#include "bench/process.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static bool read_text(long pid, const char *name, char text[PROCESS_TEXT_BYTES])
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%ld/%s", pid, name);
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    size_t n = fread(text, 1, PROCESS_TEXT_BYTES - 1, file);
    fclose(file);
    text[n] = '\0';
    return n > 0;
}

bool process_stat_ticks(const char *stat, uint64_t *ticks)
{
    uint64_t user, system;
    const char *after = strrchr(stat, ')');
    if (!after || sscanf(after + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %" SCNu64 " %" SCNu64,
                         &user, &system) != 2)
        return false;
    *ticks = user + system;
    return true;
}

bool process_field_kib(const char *text, const char *name, uint64_t *kib)
{
    size_t len = strlen(name);
    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, name, len) == 0 && line[len] == ':')
            return sscanf(line + len + 1, "%" SCNu64 " kB", kib) == 1;
    }
    return false;
}

bool process_cpu_ns(long pid, uint64_t *out)
{
    char text[PROCESS_TEXT_BYTES];
    uint64_t ticks;
    if (!read_text(pid, "stat", text) || !process_stat_ticks(text, &ticks))
        return false;
    *out = ticks * (1000000000u / (uint64_t)sysconf(_SC_CLK_TCK));
    return true;
}

bool process_memory(long pid, struct process_memory *out)
{
    char text[PROCESS_TEXT_BYTES];
    if (!read_text(pid, "smaps_rollup", text) || !process_field_kib(text, "Rss", &out->rss_bytes) ||
        !process_field_kib(text, "Anonymous", &out->anonymous_bytes) ||
        !process_field_kib(text, "Private_Dirty", &out->private_dirty_bytes))
        return false;
    out->rss_bytes <<= 10;
    out->anonymous_bytes <<= 10;
    out->private_dirty_bytes <<= 10;
    return true;
}
