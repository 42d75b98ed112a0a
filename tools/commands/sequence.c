#include "tools/commands/sequence.h"

#include "src/base/error.h"

int sequence_take(struct sequence *s, uint64_t id, uint64_t seq, bool replay, struct span text)
{
    if (id <= s->last_id || (s->resuming && !replay))
        return 0;
    if (!s->resuming && seq != s->last_seq + 1)
        return -PARLEY_ERR_AGAIN;
    s->last_id = id;
    s->last_seq = seq;
    s->emit(s->owner, text);
    return 0;
}

void sequence_resume(struct sequence *s)
{
    s->resuming = true;
}

void sequence_resumed(struct sequence *s)
{
    s->resuming = false;
}
