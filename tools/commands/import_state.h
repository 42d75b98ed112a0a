/* tools/commands/import_state.h: how far an import got, kept beside the file.
 *
 * Why:    importing again is right without it, because the server knows what it has; with it, it is also quick.
 * Shape:  FILE: {"bytes","crc","conversation","lines"}: of which file (length and checksum of its beginning), into which
 *         server (the id of its first conversation: another data folder gives another), and that its first `lines` lines
 *         are done. Written whole, under another name, then renamed.
 * Thread: one.
 * Errors: none that matter: what cannot be read or does not fit counts as nothing done. import_state_save: PARLEY_ERR_IO.
 */
#ifndef PARLEY_TOOLS_IMPORT_STATE_H
#define PARLEY_TOOLS_IMPORT_STATE_H

#include "src/base/base.h"

struct import_state {
    uint64_t bytes;
    uint32_t crc;
    char conversation[33];
    uint64_t lines;
};

/* bytes and crc of the file behind `fd`. */
PARLEY_MUST_USE int import_state_identify(int fd, struct import_state *state);
/* The lines that the file `path` says are done, if it is about the same file and server; else 0. */
uint64_t import_state_load(const char *path, const struct import_state *mine);
PARLEY_MUST_USE int import_state_save(const char *path, const struct import_state *state);

#endif
