#include "tools/commands/sequence.h"

#include <string.h>

#include "src/base/error.h"
#include "src/base/memory.h"

static void go_on(struct sequence *s, uint64_t id, uint64_t seq, struct span text)
{
    s->last_id = id;
    s->last_seq = seq;
    s->seq_unknown = false;
    s->emit(s->owner, text);
}

static void release_first(struct sequence *s)
{
    struct sequence_held first = s->held[0];
    s->held_count--;
    memmove(s->held, s->held + 1, s->held_count * sizeof *s->held);
    if (first.id > s->last_id)
        go_on(s, first.id, first.seq, (struct span){first.text, first.len});
    memory_free(first.text);
}

static void release_next_ones(struct sequence *s)
{
    while (s->held_count && (s->held[0].id <= s->last_id || s->held[0].seq == s->last_seq + 1))
        release_first(s);
}

static int reserve(struct sequence *s)
{
    if (s->held_count < s->held_room)
        return 0;
    size_t room = s->held_room ? s->held_room * 2 : 64;
    struct sequence_held *held = memory_realloc(s->held, room * sizeof *held);
    if (!held)
        return -PARLEY_ERR_NOMEM;
    s->held = held;
    s->held_room = room;
    return 0;
}

static int hold(struct sequence *s, uint64_t id, uint64_t seq, struct span text)
{
    size_t at = s->held_count;
    while (at && s->held[at - 1].id > id)
        at--;
    if (at && s->held[at - 1].id == id)
        return 0;
    /* The lowest id is the one that comes next, whatever is missing before it. */
    if (s->held_count == SEQUENCE_HELD_MAX) {
        release_first(s);
        release_next_ones(s);
        return sequence_take(s, id, seq, text);
    }
    uint8_t *copy = memory_alloc(text.len ? text.len : 1);
    if (!copy || reserve(s) != 0) {
        memory_free(copy);
        return -PARLEY_ERR_NOMEM;
    }
    memcpy(copy, text.data, text.len);
    memmove(s->held + at + 1, s->held + at, (s->held_count - at) * sizeof *s->held);
    s->held[at] = (struct sequence_held){id, seq, copy, text.len};
    s->held_count++;
    return 0;
}

int sequence_take(struct sequence *s, uint64_t id, uint64_t seq, struct span text)
{
    if (id <= s->last_id)
        return 0;
    if (s->seq_unknown ? s->resumes == 0 : seq == s->last_seq + 1) {
        go_on(s, id, seq, text);
        release_next_ones(s);
        return 0;
    }
    int err = hold(s, id, seq, text);
    return err ? err : s->resumes ? 0 : -PARLEY_ERR_AGAIN;
}

void sequence_resume(struct sequence *s)
{
    s->resumes++;
}

void sequence_resumed(struct sequence *s)
{
    if (s->resumes)
        s->resumes--;
    while (s->resumes == 0 && s->held_count)
        release_first(s);
}

void sequence_lost(struct sequence *s)
{
    for (size_t i = 0; i < s->held_count; i++)
        memory_free(s->held[i].text);
    s->held_count = 0;
    s->resumes = 0;
}

void sequence_clear(struct sequence *s)
{
    sequence_lost(s);
    memory_free(s->held);
    s->held = NULL;
    s->held_room = 0;
}
