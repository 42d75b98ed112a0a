#include "src/machine/member.h"

#include <string.h>

#include "src/base/error.h"
#include "src/base/memory.h"
#include "src/base/utf8.h"

static struct member_interval *intervals_of(struct member *m)
{
    return m->interval_max ? m->intervals.allocated : m->intervals.inlined;
}

const struct member_interval *member_intervals(const struct member *m)
{
    return m->interval_max ? m->intervals.allocated : m->intervals.inlined;
}

bool member_active(const struct member *m)
{
    return m->interval_count > 0 && member_intervals(m)[m->interval_count - 1].left == 0;
}

bool member_covers(const struct member *m, uint64_t id)
{
    const struct member_interval *spans = member_intervals(m);
    for (uint32_t i = 0; i < m->interval_count; i++)
        if (spans[i].joined <= id && (spans[i].left == 0 || id <= spans[i].left))
            return true;
    return false;
}

struct span member_user(const struct member *m)
{
    return (struct span){m->user, m->user_len};
}

static int reserve(struct member *m, uint32_t count)
{
    if (count <= (m->interval_max ? m->interval_max : (uint32_t)MEMBER_INTERVALS_INLINE))
        return 0;
    uint32_t max = count < 2 * m->interval_count ? 2 * m->interval_count : count;
    struct member_interval *grown = memory_alloc(max * sizeof *grown);
    if (!grown)
        return -PARLEY_ERR_NOMEM;
    memcpy(grown, intervals_of(m), m->interval_count * sizeof *grown);
    if (m->interval_max)
        memory_free(m->intervals.allocated);
    m->intervals.allocated = grown;
    m->interval_max = max;
    return 0;
}

int member_join(struct member *m, uint64_t id)
{
    int rc = reserve(m, m->interval_count + 1);
    if (rc)
        return rc;
    intervals_of(m)[m->interval_count++] = (struct member_interval){.joined = id};
    return 0;
}

void member_leave(struct member *m, uint64_t id)
{
    parley_assert(member_active(m));
    intervals_of(m)[m->interval_count - 1].left = id;
}

int member_copy(struct member *m, const struct member *from)
{
    struct member copy = *from;
    copy.interval_max = copy.interval_count = 0;
    memset(&copy.intervals, 0, sizeof copy.intervals);
    int rc = reserve(&copy, from->interval_count);
    if (rc)
        return rc;
    memcpy(intervals_of(&copy), member_intervals(from),
           from->interval_count * sizeof(struct member_interval));
    copy.interval_count = from->interval_count;
    *m = copy;
    return 0;
}

int member_of_view(struct member *m, const struct member_view *view)
{
    struct member made = {.hash = view->hash,
                          .role = (uint8_t)view->role,
                          .user_len = (uint8_t)view->user.len,
                          .read_seq = view->read_seq,
                          .delivered_seq = view->delivered_seq};
    parley_assert(view->user.len <= sizeof made.user);
    if (view->user.len)
        memcpy(made.user, view->user.data, view->user.len);
    int rc = reserve(&made, view->interval_count);
    if (rc)
        return rc;
    struct bytes_reader r = bytes_reader_of(view->intervals.data, view->intervals.len);
    for (uint32_t i = 0; i < view->interval_count; i++) {
        uint64_t joined = bytes_get_u64(&r);
        intervals_of(&made)[i] = (struct member_interval){joined, bytes_get_u64(&r)};
    }
    made.interval_count = view->interval_count;
    *m = made;
    return 0;
}

void member_clear(struct member *m)
{
    if (m->interval_max)
        memory_free(m->intervals.allocated);
    m->interval_max = m->interval_count = 0;
}

void member_put_new(struct bytes_writer *w, const struct id16 *hash, enum member_role role, struct span user)
{
    bytes_put_id16(w, hash);
    bytes_put_u8(w, (uint8_t)role);
    bytes_put_span(w, user);
    bytes_put_varint(w, 0);
}

void member_put(struct bytes_writer *w, const struct member *m)
{
    bool has_seqs = m->delivered_seq > 0;
    bytes_put_id16(w, &m->hash);
    bytes_put_u8(w, (uint8_t)(has_seqs ? m->role | MEMBER_HAS_SEQS : m->role));
    bytes_put_span(w, member_user(m));
    bytes_put_varint(w, m->interval_count);
    const struct member_interval *spans = member_intervals(m);
    for (uint32_t i = 0; i < m->interval_count; i++) {
        bytes_put_u64(w, spans[i].joined);
        bytes_put_u64(w, spans[i].left);
    }
    if (has_seqs) {
        bytes_put_varint(w, m->read_seq);
        bytes_put_varint(w, m->delivered_seq);
    }
}

/* Intervals rise and only the last is open. */
static bool intervals_sound(struct span encoded, uint32_t count)
{
    struct bytes_reader r = bytes_reader_of(encoded.data, encoded.len);
    uint64_t before = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t joined = bytes_get_u64(&r), left = bytes_get_u64(&r);
        if (joined <= before || (left == 0 ? i + 1 < count : left < joined))
            return false;
        before = left;
    }
    return true;
}

struct member_view member_get(struct bytes_reader *r)
{
    struct member_view m = {.hash = bytes_get_id16(r)};
    unsigned first = bytes_get_u8(r), role = first & ~(unsigned)MEMBER_HAS_SEQS;
    m.user = bytes_get_span(r);
    uint64_t count = bytes_get_varint(r);
    if (role < ROLE_READ_ONLY || role > ROLE_OWNER || m.user.len < 1 || m.user.len > USER_ID_BYTES_MAX ||
        count > MEMBER_INTERVALS_MAX || !utf8_valid(m.user))
        r->failed = true;
    m.intervals = bytes_get_raw(r, (size_t)count * 16);
    if (first & MEMBER_HAS_SEQS) {
        m.read_seq = bytes_get_varint(r);
        m.delivered_seq = bytes_get_varint(r);
        if (m.delivered_seq == 0 || m.read_seq > m.delivered_seq)
            r->failed = true;
    }
    if (r->failed || !intervals_sound(m.intervals, (uint32_t)count)) {
        r->failed = true;
        return (struct member_view){0};
    }
    m.role = (enum member_role)role;
    m.interval_count = (uint32_t)count;
    return m;
}
