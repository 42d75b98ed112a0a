/* tests/unit/live_drain.h: what a reactor hands to live delivery, for tests without one. */
#ifndef PARLEY_TESTS_LIVE_DRAIN_H
#define PARLEY_TESTS_LIVE_DRAIN_H

#include "src/session/live.h"

static inline void live_drain_message(void *owner, const struct mailbox_message *message)
{
    live_mailbox_message(owner, message);
}

static inline void live_drain_lagging(void *owner, uint16_t from)
{
    live_lagging(owner, from);
}

/* What has come for it; what it sends waits for mailbox_flush. */
static inline void live_drain(struct live *live, struct mailbox *mailbox)
{
    struct mailbox_handler handler = {live, live_drain_message, live_drain_lagging};
    mailbox_drain(mailbox, &handler);
}

#endif
