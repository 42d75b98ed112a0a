/* src/session/subscriber_table.h: the subscribers of one reactor and topic, found by their key.
 *
 * Why:    a delivered message names keys; an idle session must cost no more than its two links here.
 * Shape:  key -> chain of subscribers, linked through themselves; buckets double with the subscribers.
 * Owner:  subscriber_table_init gives the caller something to dispose of; subscribers are their protocols'.
 * Thread: its reactor.
 * Errors: none after init: a table that cannot grow works on, slower.
 */
#ifndef PARLEY_SESSION_SUBSCRIBER_TABLE_H
#define PARLEY_SESSION_SUBSCRIBER_TABLE_H

#include "src/session/subscriber.h"

struct subscriber_table {
    struct subscriber **buckets;
    uint32_t bucket_count, count; /* a power of two */
};

PARLEY_MUST_USE int subscriber_table_init(struct subscriber_table *t);
void subscriber_table_dispose(struct subscriber_table *t);
void subscriber_table_add(struct subscriber_table *t, struct subscriber *subscriber);
void subscriber_table_remove(struct subscriber_table *t, struct subscriber *subscriber);
/* for (s = subscriber_table_find(t, key); s; s = subscriber_table_next(s)) walks over those of the key. */
struct subscriber *subscriber_table_find(const struct subscriber_table *t, const struct id16 *key);
struct subscriber *subscriber_table_next(const struct subscriber *subscriber);

#endif
