/* tools/commands/verify_online.h: `parley verify --url`: does a server's API agree with itself?
 *
 * Shape:  conversations given, and those of given users -> each: all pages forwards, all pages backwards, samples of
 *         messages by id and by client id, samples of members against their lists. There is no request that lists all
 *         conversations, so one says which. Messages that come meanwhile are no finding.
 * Memory: 16 bytes for each message of one conversation.
 * Thread: one.
 */
#ifndef PARLEY_TOOLS_VERIFY_ONLINE_H
#define PARLEY_TOOLS_VERIFY_ONLINE_H

#include "tools/commands/session.h"

struct verify_online {
    struct session *session;
    struct flag_list conversations, users;
    uint64_t sample;
};

/* The command's exit status: 0 clean, 1 found something, 2 could not look. */
int verify_online(struct verify_online *o);

#endif
