/* src/shard/reads.h: what readers are told of one loaded conversation and its members.
 *
 * Why:    only members read, and a service; what is read is applied, so an answer waits for no commit.
 * Shape:  the shard has the objects in memory and calls these; `page` is the actor's page of members.
 * Thread: the shard's reactor.
 * Errors: -PARLEY_ERR_NOT_FOUND: no such conversation; -PARLEY_ERR_NOT_MEMBER; -PARLEY_ERR_NOMEM. On error the request's
 *         results are as before.
 */
#ifndef PARLEY_SHARD_READS_H
#define PARLEY_SHARD_READS_H

#include "src/shard/request.h"

/* May the command's actor read? */
PARLEY_MUST_USE int reads_allowed(const struct command *command, const struct conversation *conversation,
                                  const struct page *page);
/* The member, when the user is one now; else NULL. */
const struct member *reads_member(const struct id16 *user, const struct page *page);
/* SHARD_CONVERSATION: fills request->summary. */
void reads_summary(struct shard_request *request, const struct conversation *conversation,
                   const struct page *page);
/* SHARD_MEMBERS: all entries of the page number request->from_page, which is `page`, as page_encode writes them. */
PARLEY_MUST_USE int reads_members(struct shard_request *request, const struct conversation *conversation,
                                  const struct page *page);

#endif
