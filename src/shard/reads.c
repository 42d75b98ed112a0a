#include "src/shard/reads.h"

#include <string.h>

#include "src/base/error.h"
#include "src/base/memory.h"

const struct member *reads_member(const struct id16 *user, const struct page *page)
{
    const struct member *member = page ? page_find(page->applied, user) : NULL;
    return member && member_active(member) ? member : NULL;
}

int reads_allowed(const struct command *c, const struct conversation *conversation, const struct page *page)
{
    if (!conversation || !conversation->applied.exists)
        return -PARLEY_ERR_NOT_FOUND;
    return c->service || reads_member(&c->actor_hash, page) ? 0 : -PARLEY_ERR_NOT_MEMBER;
}

void reads_summary(struct shard_request *request, const struct conversation *c, const struct page *page)
{
    const struct member *member = reads_member(&request->command.actor_hash, page);
    struct conversation_summary *s = &request->summary;
    *s = (struct conversation_summary){.type = (enum conversation_type)c->type,
                                       .role = member ? (enum member_role)member->role : 0,
                                       .members = c->applied.members,
                                       .page_count = c->applied.page_count,
                                       .created_id = c->created_id,
                                       .created_ms = c->created_ms,
                                       .last_seq = c->applied.last_seq,
                                       .last_message_id = c->applied.last_message_id,
                                       .title_len = c->title_len,
                                       .creator_len = c->creator_len};
    if (member) {
        uint64_t sent = conversation_sent_by(c, &request->command.actor_hash);
        s->read_seq = member->read_seq;
        s->delivered_seq = member->delivered_seq;
        s->unread = c->applied.last_seq - (sent > member->read_seq ? sent : member->read_seq);
    }
    memcpy(s->title, c->title, c->title_len);
    memcpy(s->creator, c->creator, c->creator_len);
}

int reads_members(struct shard_request *request, const struct conversation *c, const struct page *page)
{
    const struct page_members *members = page->applied;
    size_t room = page_len_max(page);
    uint8_t *entries = memory_alloc(room);
    if (!entries)
        return -PARLEY_ERR_NOMEM;
    struct bytes_writer w = bytes_writer_of(entries, room);
    for (uint32_t i = 0; i < members->count; i++)
        member_put(&w, &members->list[i]);
    parley_assert(!w.failed);
    bool last = request->from_page + 1 >= c->applied.page_count;
    request->page = (struct shard_page){
        .entries = entries, .len = bytes_writer_len(&w), .count = members->count, .newer = !last};
    request->next_page = last ? 0 : request->from_page + 1;
    return 0;
}
