/* src/verify/verify_report.h: what a checker finds, how bad it is, and what can be done.
 *
 * Why:    who prints (command line, JSON, a server) is not who checks.
 * Shape:  checker -> verify_find -> on_finding; counts by kind. One table says the name, the severity and the remedy of
 *         each kind.
 * Thread: one at a time.
 * Owner:  texts of a finding live for the call.
 */
#ifndef PARLEY_VERIFY_REPORT_H
#define PARLEY_VERIFY_REPORT_H

#include "src/base/base.h"

enum verify_severity {
    VERIFY_DAMAGE,  /* acknowledged data is lost or cannot be read */
    VERIFY_DERIVED, /* nothing is lost: it can be made again from what is there */
    VERIFY_NOTE
};

#define VERIFY_RESTORE "restore this folder from a backup"
#define VERIFY_BEGIN_AGAIN                                                                                   \
    "--repair keeps what is good, puts the damaged segments aside and begins a new log behind it"
#define VERIFY_REBUILD "--repair makes it again"

/* X(kind, name, severity, remedy) */
#define VERIFY_KINDS(X)                                                                                      \
    X(FOLDER, "folder", DAMAGE, VERIFY_RESTORE)                                                              \
    X(SHARD_MISSING, "shard_missing", DAMAGE, VERIFY_RESTORE)                                                \
    X(LOG_DAMAGED, "log_damaged", DAMAGE, VERIFY_BEGIN_AGAIN)                                                \
    X(LOG_LOST, "log_lost", DAMAGE, VERIFY_BEGIN_AGAIN)                                                      \
    X(LOG_SHORT, "log_short", DAMAGE, VERIFY_BEGIN_AGAIN)                                                    \
    X(LOG_GAP, "log_gap", DAMAGE, VERIFY_BEGIN_AGAIN)                                                        \
    X(LOG_EVENT, "log_event", DAMAGE, VERIFY_RESTORE)                                                        \
    X(LOG_REPLAY, "log_replay", DAMAGE, VERIFY_BEGIN_AGAIN)                                                  \
    X(STORE_OPEN, "store_open", DAMAGE,                                                                      \
      "--repair puts the store aside if the log has everything from its beginning; else restore a backup")   \
    X(STORE_MISSING, "store_missing", DERIVED, "the next start, or --repair, makes it again from the log")   \
    X(STORE_READ, "store_read", DAMAGE, VERIFY_RESTORE)                                                      \
    X(ROW, "row", DAMAGE, VERIFY_RESTORE)                                                                    \
    X(ROW_PLACE, "row_place", DAMAGE, VERIFY_RESTORE)                                                        \
    X(POSITION, "position", DERIVED, VERIFY_REBUILD)                                                         \
    X(MESSAGE_SEQ, "message_seq", DAMAGE, VERIFY_RESTORE)                                                    \
    X(MESSAGE_ID, "message_id", DAMAGE, VERIFY_RESTORE)                                                      \
    X(MESSAGE_LOG, "message_log", DAMAGE, VERIFY_RESTORE)                                                    \
    X(CONVERSATION, "conversation", DAMAGE, VERIFY_RESTORE)                                                  \
    X(DEDUP_MISSING, "dedup_missing", DAMAGE,                                                                \
      "retries of these commands are not recognised; " VERIFY_RESTORE)                                       \
    X(DEDUP_WRONG, "dedup_wrong", DAMAGE, "a retry would get a wrong answer; " VERIFY_RESTORE)               \
    X(FILTER, "filter", DERIVED, VERIFY_REBUILD)                                                             \
    X(PAGE_MISSING, "page_missing", DAMAGE, VERIFY_RESTORE)                                                  \
    X(MEMBER, "member", DAMAGE, VERIFY_RESTORE)                                                              \
    X(MEMBER_COUNT, "member_count", DAMAGE, VERIFY_RESTORE)                                                  \
    X(MEMBERSHIP_MISSING, "membership_missing", DERIVED, VERIFY_REBUILD)                                     \
    X(MEMBERSHIP_WRONG, "membership_wrong", DERIVED, VERIFY_REBUILD)                                         \
    X(MEMBERSHIP_EXTRA, "membership_extra", DERIVED, VERIFY_REBUILD)                                         \
    X(LARGE, "large", DERIVED, VERIFY_REBUILD)                                                               \
    X(OFFSET, "offset", DERIVED, VERIFY_REBUILD)                                                             \
    X(ORPHAN, "orphan", DAMAGE, "its conversation's row is gone: " VERIFY_RESTORE)                           \
    X(UNKNOWN_ROW, "unknown_row", NOTE, "it is not used")

enum verify_kind {
#define X(kind, name, severity, remedy) VERIFY_KIND_##kind,
    VERIFY_KINDS(X)
#undef X
        VERIFY_KIND_COUNT
};

struct verify_finding {
    enum verify_kind kind;
    uint32_t shard;    /* VERIFY_NO_SHARD: of the folder */
    const char *where; /* relative to the folder; file and offset, or family and key */
    const char *what;
};
#define VERIFY_NO_SHARD UINT32_MAX

struct verify_report {
    void *owner;
    void (*on_finding)(void *owner, const struct verify_finding *finding);
    void (*on_mended)(void *owner, const char *what);     /* --repair did this */
    void (*on_progress)(void *owner, uint64_t looked_at); /* rows and events, so far */
    uint64_t counts[VERIFY_KIND_COUNT], looked_at;
};

const char *verify_kind_name(enum verify_kind kind);
enum verify_severity verify_kind_severity(enum verify_kind kind);
const char *verify_severity_name(enum verify_severity severity);
const char *verify_kind_remedy(enum verify_kind kind);
uint64_t verify_report_count(const struct verify_report *report, enum verify_severity severity);

void verify_report_find(struct verify_report *report, const struct verify_finding *finding);
void verify_report_looked(struct verify_report *report);

#endif
