/* src/machine/member.h: one user in one conversation: role, and every interval in which he was in.
 *
 * Why:    who was in at an event's time is asked long after it (timelines, feeds, history), so leaving
 * forgets nothing; a later floor event does. Shape:  encoded: hash 16, role u8, user id, count of intervals,
 * then joined u64 and left u64 of each. Both ends are inclusive event ids (one sees one's own leaving); 0 =
 * still in. A role with MEMBER_HAS_SEQS is followed, behind the intervals, by the read and the delivered seq (varints). In an EVENT_CREATED the count is 0: all joined with the event's id. Thread: none of its own: an
 * object belongs to its shard's reactor. Owner:  a member owns its intervals; a member_view borrows the
 * decoded bytes. Errors: -PARLEY_ERR_NOMEM with nothing changed; member_get fails its reader.
 */
#ifndef PARLEY_MACHINE_MEMBER_H
#define PARLEY_MACHINE_MEMBER_H

#include "src/base/bytes.h"
#include "src/machine/event.h"

enum {
    MEMBER_INTERVALS_MAX = 64,
    MEMBER_INTERVALS_INLINE = 2,
    PAGE_MEMBERS_MAX = 512,   /* hard; linear hashing's unsplit pages reach 256 and a spread */
    PAGE_MEMBERS_MEAN = 128,  /* above this a page is split */
    PAGE_COUNT_MAX = 1 << 16, /* 8 million members */
    MEMBER_HAS_SEQS = 0x80,
    MEMBER_BYTES_MAX = 16 + 1 + 1 + USER_ID_BYTES_MAX + 1 + MEMBER_INTERVALS_MAX * 16 + 20
};
_Static_assert((int)CREATE_MEMBERS_MAX <= (int)PAGE_MEMBERS_MAX, "a creation fits one page");
_Static_assert(PAGE_MEMBERS_MAX *MEMBER_BYTES_MAX < 1 << 20, "a split fits one record");

struct member_interval {
    uint64_t joined, left;
};

struct member {
    struct id16 hash;
    uint8_t role, user_len;
    uint8_t user[USER_ID_BYTES_MAX];
    uint64_t read_seq, delivered_seq;      /* of messages; they only rise, and what is read is delivered */
    uint32_t interval_count, interval_max; /* max: allocated; 0 while they are inline */
    union {
        struct member_interval inlined[MEMBER_INTERVALS_INLINE];
        struct member_interval *allocated;
    } intervals;
};

/* As decoded: intervals are read with member_view_interval. */
struct member_view {
    struct id16 hash;
    enum member_role role;
    struct span user;
    uint64_t read_seq, delivered_seq;
    uint32_t interval_count;
    struct span intervals;
};

const struct member_interval *member_intervals(const struct member *m);
bool member_active(const struct member *m);
/* Was he in at that event? */
bool member_covers(const struct member *m, uint64_t id);
struct span member_user(const struct member *m);

PARLEY_MUST_USE int member_join(struct member *m, uint64_t id);
/* Of a member who is in. */
void member_leave(struct member *m, uint64_t id);
/* Owns: the caller ends it with member_clear. Both: `m` need not be initialised. */
PARLEY_MUST_USE int member_copy(struct member *m, const struct member *from);
PARLEY_MUST_USE int member_of_view(struct member *m, const struct member_view *view);
void member_clear(struct member *m);

void member_put(struct bytes_writer *w, const struct member *m);
void member_put_new(struct bytes_writer *w, const struct id16 *hash, enum member_role role, struct span user);
struct member_view member_get(struct bytes_reader *r);

#endif
