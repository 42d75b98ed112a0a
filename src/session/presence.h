/* src/session/presence.h: who is there now, of the users whose shards live on this reactor; in memory only.
 *
 * Why:    nothing of it is worth a disk: what a restart forgets, the next heartbeats say again.
 * Shape:  each device says its state (presence_beat) every PRESENCE_BEAT_MS and is forgotten PRESENCE_TTL_MS after the last
 *         time; going is nothing that a closed connection says, so who comes back before that was never away.
 *         A user is what the most present of his devices is: online, away, offline.
 *         presence_step finds who is forgotten and tells (`tell`) whose state differs from what was told last, each user at
 *         most once in PRESENCE_QUIET_MS, and at most PRESENCE_TELLS_MAX in one step: a storm is spread, not amplified.
 * Bounds: users_max. A full table forgets the user who is offline for longest; when nobody is offline a new user is refused.
 *         PRESENCE_DEVICES_MAX of a user: one more takes the place of the one that was silent for longest.
 * Owner:  presence_create gives the caller something to destroy.
 * Thread: its reactor.
 * Errors: -PARLEY_ERR_FULL, -PARLEY_ERR_NOMEM of a new user's heartbeat; nothing has changed.
 */
#ifndef PARLEY_SESSION_PRESENCE_H
#define PARLEY_SESSION_PRESENCE_H

#include "src/base/base.h"

enum {
    PRESENCE_BEAT_MS = 30000, /* what clients are asked for */
    PRESENCE_TTL_MS = 45000,
    PRESENCE_QUIET_MS = 1000,
    PRESENCE_STEP_MS = 250, /* how often presence_step is to be called while somebody is known */
    PRESENCE_TELLS_MAX = 256,
    PRESENCE_EXPIRIES_MAX = 1024, /* of one step */
    PRESENCE_DEVICES_MAX = 8,
    PRESENCE_USERS_MAX = 1 << 18
};

/* From the least present. */
enum presence_state { PRESENCE_OFFLINE, PRESENCE_AWAY, PRESENCE_ONLINE };

/* What is said of one user. */
struct presence_view {
    enum presence_state state;
    uint64_t last_seen_ms; /* wall time of his last heartbeat; 0: it is not known */
    /* Of this reactor: what was told earlier has a lower one, what is told later a higher one. */
    uint64_t version;
};

struct presence_options {
    uint32_t ttl_ms, users_max;
    void *owner;
    /* His state is another one. Borrowed for the call; may not call back. */
    void (*tell)(void *owner, const struct id16 *user_hash, struct span user,
                 const struct presence_view *view);
};

struct presence_time {
    uint64_t monotonic_ms, wall_ms;
};

struct presence;

PARLEY_MUST_USE int presence_create(const struct presence_options *options, struct presence **out);
void presence_destroy(struct presence **presence);

/* One device of the user says how he is; PRESENCE_OFFLINE: he leaves by it, and need not be waited for. */
PARLEY_MUST_USE int presence_beat(struct presence *presence, const struct id16 *user_hash, struct span user,
                                  uint64_t device, enum presence_state state, struct presence_time now);
void presence_read(const struct presence *presence, const struct id16 *user_hash, struct presence_view *out);
void presence_step(struct presence *presence, uint64_t monotonic_ms);
/* Does somebody need a step? */
bool presence_is_busy(const struct presence *presence);
uint32_t presence_user_count(const struct presence *presence);

#endif
