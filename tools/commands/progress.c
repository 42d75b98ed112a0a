#include "tools/commands/progress.h"

#include <stdio.h>
#include <unistd.h>

#include "src/base/clock.h"

enum { BAR_EVERY_MS = 100, LINE_EVERY_MS = 5000, BAR_CELLS = 24 };

void progress_begin(struct progress *p, const char *what, bool quiet)
{
    uint64_t now = clock_monotonic_ms(clock_real());
    *p = (struct progress){
        .what = what, .quiet = quiet, .terminal = isatty(STDERR_FILENO), .began_ms = now, .shown_ms = now};
}

static void put_bar(double share)
{
    int full = (int)(share * BAR_CELLS);
    fputc('[', stderr);
    for (int i = 0; i < BAR_CELLS; i++)
        fputc(i < full ? '#' : '.', stderr);
    fputs("] ", stderr);
}

void progress_show(struct progress *p, uint64_t done, uint64_t part, uint64_t whole)
{
    uint64_t now = clock_monotonic_ms(clock_real());
    if (p->quiet || now - p->shown_ms < (p->terminal ? BAR_EVERY_MS : LINE_EVERY_MS))
        return;
    p->shown_ms = now;
    double seconds = (double)(now - p->began_ms) / 1000.0;
    double share = whole ? (double)part / (double)whole : 0;
    if (share > 1)
        share = 1;
    fputs(p->terminal ? "\r\033[K" : "parley: ", stderr);
    if (p->terminal && whole)
        put_bar(share);
    if (whole)
        fprintf(stderr, "%3d%%  ", (int)(share * 100));
    fprintf(stderr, "%llu %s  %.0f/s", (unsigned long long)done, p->what,
            seconds > 0 ? (double)done / seconds : 0);
    if (share > 0) {
        unsigned long long left = (unsigned long long)(seconds * (1 - share) / share + 0.5);
        fprintf(stderr, "  %llu:%02llu left", left / 60, left % 60);
    }
    if (!p->terminal)
        fputc('\n', stderr);
    p->drawn = p->terminal;
}

void progress_clear(struct progress *p)
{
    if (p->drawn)
        fputs("\r\033[K", stderr);
    p->drawn = false;
}

uint64_t progress_end(struct progress *p)
{
    progress_clear(p);
    return clock_monotonic_ms(clock_real()) - p->began_ms;
}
