/* src/verify/verify_report.h: what a checker finds, how bad it is, what can be done, and what that costs.
 *
 * Why:    who prints (command line, JSON, a server) is not who checks.
 * Shape:  checker -> verify_find -> on_finding; counts by kind. One table says the name, the severity and the sort of remedy
 *         of each kind; the remedy's words depend on what is left of the shard. Before a log is given up, or when it would
 *         have to be, on_loss says what goes with it.
 * Thread: one at a time.
 * Owner:  texts of a finding live for the call.
 */
#ifndef PARLEY_VERIFY_REPORT_H
#define PARLEY_VERIFY_REPORT_H

#include "src/base/base.h"

enum verify_severity {
    VERIFY_DAMAGE,  /* acknowledged data is lost or cannot be read */
    VERIFY_DERIVED, /* nothing is lost: it can be made again from what is there */
    VERIFY_NOTE     /* nothing is wrong, or nothing can be said */
};

enum verify_remedy {
    VERIFY_REMEDY_RESTORE, /* nothing else helps */
    VERIFY_REMEDY_LOG, /* a log can begin again, if there is a store beside it, or one can be made from it */
    VERIFY_REMEDY_STORE,   /* a store can be made again, if its log has everything */
    VERIFY_REMEDY_OPEN,    /* the same, of one that cannot be opened */
    VERIFY_REMEDY_VERSION, /* who wrote it can read it */
    VERIFY_REMEDY_REPAIR,  /* a repair makes it again, and nothing is lost */
    VERIFY_REMEDY_SOURCE,  /* what it follows from must be whole first */
    VERIFY_REMEDY_NONE
};

/* X(kind, name, severity, remedy) */
#define VERIFY_KINDS(X)                                                                                      \
    X(FOLDER, "folder", DAMAGE, RESTORE)                                                                     \
    X(SHARD_MISSING, "shard_missing", DAMAGE, RESTORE)                                                       \
    X(LOG_DAMAGED, "log_damaged", DAMAGE, LOG)                                                               \
    X(LOG_LOST, "log_lost", DAMAGE, LOG)                                                                     \
    X(LOG_SHORT, "log_short", DAMAGE, LOG)                                                                   \
    X(LOG_GAP, "log_gap", DAMAGE, LOG)                                                                       \
    X(LOG_REPLAY, "log_replay", DAMAGE, LOG)                                                                 \
    X(LOG_EVENT, "log_event", DAMAGE, VERSION)                                                               \
    X(STORE_OPEN, "store_open", DAMAGE, OPEN)                                                                \
    X(STORE_MISSING, "store_missing", DERIVED, REPAIR)                                                       \
    X(STORE_LOST, "store_lost", DAMAGE, OPEN)                                                                \
    X(STORE_READ, "store_read", DAMAGE, STORE)                                                               \
    X(ROW, "row", DAMAGE, STORE)                                                                             \
    X(ROW_PLACE, "row_place", DAMAGE, STORE)                                                                 \
    X(POSITION, "position", DERIVED, REPAIR)                                                                 \
    X(MESSAGE_SEQ, "message_seq", DAMAGE, STORE)                                                             \
    X(MESSAGE_ID, "message_id", DAMAGE, STORE)                                                               \
    X(MESSAGE_LOG, "message_log", DAMAGE, STORE)                                                             \
    X(CONVERSATION, "conversation", DAMAGE, STORE)                                                           \
    X(SENDERS, "senders", DAMAGE, STORE)                                                                     \
    X(DEDUP_MISSING, "dedup_missing", DAMAGE, STORE)                                                         \
    X(DEDUP_WRONG, "dedup_wrong", DAMAGE, STORE)                                                             \
    X(FILTER, "filter", DERIVED, REPAIR)                                                                     \
    X(FILTER_LOST, "filter_lost", DAMAGE, STORE)                                                             \
    X(PAGE_MISSING, "page_missing", DAMAGE, STORE)                                                           \
    X(MEMBER, "member", DAMAGE, STORE)                                                                       \
    X(MEMBER_COUNT, "member_count", DAMAGE, STORE)                                                           \
    X(RECEIPT, "receipt", DAMAGE, STORE)                                                                     \
    X(MEMBERSHIP_MISSING, "membership_missing", DERIVED, REPAIR)                                             \
    X(MEMBERSHIP_WRONG, "membership_wrong", DERIVED, REPAIR)                                                 \
    X(MEMBERSHIP_EXTRA, "membership_extra", DERIVED, REPAIR)                                                 \
    X(LARGE, "large", DERIVED, REPAIR)                                                                       \
    X(OFFSET, "offset", DERIVED, REPAIR)                                                                     \
    X(UNDECIDED, "undecided", NOTE, SOURCE)                                                                  \
    X(ORPHAN, "orphan", DAMAGE, STORE)                                                                       \
    X(UNKNOWN_ROW, "unknown_row", NOTE, NONE)

enum verify_kind {
#define X(kind, name, severity, remedy) VERIFY_KIND_##kind,
    VERIFY_KINDS(X)
#undef X
        VERIFY_KIND_COUNT
};

#define VERIFY_NO_SHARD UINT32_MAX

struct verify_finding {
    enum verify_kind kind;
    uint32_t shard;    /* VERIFY_NO_SHARD: of the folder */
    const char *where; /* relative to the folder; file and offset, or family and key */
    const char *what;
    const char *remedy; /* what can be done about it, here */
};

/* Events that a shard does not have any more when its log begins again. */
struct verify_loss {
    bool done; /* false: a repair would give them up */
    uint32_t shard;
    uint64_t first, last;       /* positions */
    uint64_t events;            /* at most */
    uint64_t id_first, id_last; /* their ids are within; id_first 0: nobody knows from where on */
    const char *why;
};

struct verify_report {
    void *owner;
    void (*on_finding)(void *owner, const struct verify_finding *finding);
    void (*on_loss)(void *owner, const struct verify_loss *loss); /* may be NULL, as those that follow */
    void (*on_mended)(void *owner, const char *what);             /* a repair did this */
    void (*on_again)(void *owner);                                /* and now looks at all once more */
    void (*on_progress)(void *owner, uint64_t looked_at);         /* rows and events, so far */
    uint64_t counts[VERIFY_KIND_COUNT], looked_at;
};

const char *verify_kind_name(enum verify_kind kind);
enum verify_severity verify_kind_severity(enum verify_kind kind);
enum verify_remedy verify_kind_remedy(enum verify_kind kind);
const char *verify_severity_name(enum verify_severity severity);
uint64_t verify_report_count(const struct verify_report *report, enum verify_severity severity);

void verify_report_find(struct verify_report *report, const struct verify_finding *finding);
void verify_report_looked(struct verify_report *report);

#endif
