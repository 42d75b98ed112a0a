#include "src/machine/event.h"

#include <string.h>

#include "src/base/error.h"
#include "src/base/utf8.h"
#include "src/machine/member.h"

enum { EVENT_VERSION = 2, EVENT_VERSION_FIRST = 1, FIXED_BYTES_MAX = 256 };

bool event_body_is_text(struct span content_type)
{
    return content_type.len == 0 || (content_type.len >= 5 && memcmp(content_type.data, "text/", 5) == 0) ||
           (content_type.len == 16 && memcmp(content_type.data, "application/json", 16) == 0);
}

size_t event_len_max(const struct event *e)
{
    return FIXED_BYTES_MAX + e->actor.len + e->client_id.len + e->title.len + e->members.len + e->target.len +
           e->device.len + e->content_type.len + e->body.len + e->display_name.len;
}

static bool has_conversation(enum event_kind kind)
{
    return kind != EVENT_TICK && kind != EVENT_PROFILE;
}

static bool has_command(enum event_kind kind)
{
    return kind != EVENT_TICK && kind != EVENT_SPLIT && kind != EVENT_RECEIPT;
}

static void put_members(struct bytes_writer *w, const struct event *e)
{
    bytes_put_varint(w, e->page_count);
    bytes_put_varint(w, e->member_count);
    bytes_put_span(w, e->members);
}

static void put_whom(struct bytes_writer *w, const struct event *e)
{
    bytes_put_span(w, e->target);
    bytes_put_id16(w, &e->target_hash);
    bytes_put_varint(w, e->page);
}

static void put_target(struct bytes_writer *w, const struct event *e)
{
    put_whom(w, e);
    bytes_put_u8(w, (uint8_t)e->role);
    bytes_put_u8(w, (uint8_t)e->former);
}

static void put_receipt(struct bytes_writer *w, const struct event *e)
{
    put_whom(w, e);
    bytes_put_varint(w, e->read_seq);
    bytes_put_varint(w, e->delivered_seq);
}

static void put_message(struct bytes_writer *w, const struct event *e)
{
    bytes_put_u64(w, e->sender_tag);
    bytes_put_varint(w, e->seq);
    bytes_put_varint(w, e->created_at_ms);
    bytes_put_span(w, e->device);
    bytes_put_span(w, e->content_type);
    bytes_put_span(w, e->body);
}

static void put_fields(struct bytes_writer *w, const struct event *e)
{
    switch (e->kind) {
    case EVENT_TICK:
        break;
    case EVENT_CREATED:
        bytes_put_u8(w, (uint8_t)e->type);
        bytes_put_span(w, e->title);
        put_members(w, e);
        break;
    case EVENT_ADDED:
    case EVENT_REMOVED:
    case EVENT_ROLE:
        put_target(w, e);
        break;
    case EVENT_SPLIT:
        bytes_put_varint(w, e->from_page);
        bytes_put_varint(w, e->to_page);
        put_members(w, e);
        break;
    case EVENT_MESSAGE:
        put_message(w, e);
        break;
    case EVENT_PROFILE:
        bytes_put_id16(w, &e->target_hash);
        bytes_put_span(w, e->display_name);
        break;
    case EVENT_RECEIPT:
        put_receipt(w, e);
        break;
    case EVENT_FENCED: /* the command's head says all */
    case EVENT_KIND_END:
        break;
    }
}

void event_encode(struct bytes_writer *w, const struct event *e)
{
    bytes_put_u8(w, (uint8_t)e->kind);
    bytes_put_u8(w, EVENT_VERSION);
    bytes_put_u64(w, e->id);
    bytes_put_varint(w, e->time_ms);
    if (has_conversation(e->kind))
        bytes_put_id16(w, &e->conversation);
    if (has_command(e->kind)) {
        bytes_put_span(w, e->actor);
        bytes_put_span(w, e->client_id);
        bytes_put_id16(w, &e->fingerprint);
        bytes_put_u64(w, e->payload_hash);
    }
    put_fields(w, e);
}

static struct span get_text(struct bytes_reader *r, size_t min, size_t max)
{
    struct span s = bytes_get_span(r);
    if (s.len < min || s.len > max || !utf8_valid(s))
        r->failed = true;
    return s;
}

static uint32_t get_count(struct bytes_reader *r, uint64_t min, uint64_t max)
{
    uint64_t v = bytes_get_varint(r);
    if (v < min || v > max)
        r->failed = true;
    return (uint32_t)v;
}

static unsigned get_enum(struct bytes_reader *r, unsigned last)
{
    unsigned v = bytes_get_u8(r);
    if (v < 1 || v > last)
        r->failed = true;
    return v;
}

/* The members are decoded once here, so that apply can only fail for want of memory. */
static void get_members(struct bytes_reader *r, struct event *e)
{
    e->page_count = get_count(r, 1, e->kind == EVENT_CREATED ? (int)CREATE_PAGES_MAX : (int)PAGE_COUNT_MAX);
    e->member_count = get_count(r, 0, PAGE_MEMBERS_MAX);
    e->members = bytes_get_span(r);
    struct bytes_reader list = bytes_reader_of(e->members.data, e->members.len);
    uint32_t least = e->kind == EVENT_SPLIT ? 1 : 0, most = e->kind == EVENT_SPLIT ? MEMBER_INTERVALS_MAX : 0;
    for (uint32_t i = 0; i < e->member_count && !r->failed; i++) {
        struct member_view m = member_get(&list);
        if (list.failed || m.interval_count < least || m.interval_count > most)
            r->failed = true;
    }
    if (!bytes_reader_done(&list))
        r->failed = true;
}

static void get_whom(struct bytes_reader *r, struct event *e)
{
    e->target = get_text(r, 1, USER_ID_BYTES_MAX);
    e->target_hash = bytes_get_id16(r);
    e->page = get_count(r, 0, PAGE_COUNT_MAX - 1);
}

static void get_target(struct bytes_reader *r, struct event *e)
{
    get_whom(r, e);
    e->role = (enum member_role)get_enum(r, ROLE_OWNER);
    e->former = (enum member_role)get_count(r, e->kind == EVENT_ADDED ? 0 : ROLE_READ_ONLY, ROLE_OWNER);
}

static void get_receipt(struct bytes_reader *r, struct event *e)
{
    get_whom(r, e);
    e->read_seq = bytes_get_varint(r);
    e->delivered_seq = bytes_get_varint(r);
    if (e->delivered_seq == 0 || e->read_seq > e->delivered_seq)
        r->failed = true;
}

static void get_message(struct bytes_reader *r, unsigned version, struct event *e)
{
    e->sender_tag = version == EVENT_VERSION_FIRST ? 0 : bytes_get_u64(r);
    e->seq = bytes_get_varint(r);
    e->created_at_ms = bytes_get_varint(r);
    e->device = get_text(r, 0, DEVICE_ID_BYTES_MAX);
    e->content_type = get_text(r, 0, CONTENT_TYPE_BYTES_MAX);
    e->body = bytes_get_span(r);
    if (e->seq == 0 || e->body.len > BODY_BYTES_MAX ||
        (event_body_is_text(e->content_type) && !utf8_valid(e->body)))
        r->failed = true;
}

static void get_fields(struct bytes_reader *r, unsigned version, struct event *e)
{
    switch (e->kind) {
    case EVENT_TICK:
        break;
    case EVENT_CREATED:
        e->type = (enum conversation_type)get_enum(r, CONVERSATION_CHANNEL);
        e->title = get_text(r, 0, TITLE_BYTES_MAX);
        get_members(r, e);
        break;
    case EVENT_ADDED:
    case EVENT_REMOVED:
    case EVENT_ROLE:
        get_target(r, e);
        break;
    case EVENT_SPLIT:
        e->from_page = get_count(r, 0, PAGE_COUNT_MAX - 1);
        e->to_page = get_count(r, 1, PAGE_COUNT_MAX - 1);
        get_members(r, e);
        if (e->page_count != e->to_page + 1 || e->from_page >= e->to_page)
            r->failed = true;
        break;
    case EVENT_MESSAGE:
        get_message(r, version, e);
        break;
    case EVENT_PROFILE:
        e->target_hash = bytes_get_id16(r);
        e->display_name = get_text(r, 0, DISPLAY_NAME_BYTES_MAX);
        break;
    case EVENT_RECEIPT:
        get_receipt(r, e);
        break;
    case EVENT_FENCED:
    case EVENT_KIND_END:
        break;
    }
}

int event_decode(struct bytes_reader *r, struct event *e)
{
    *e = (struct event){.kind = (enum event_kind)get_enum(r, EVENT_KIND_END - 1)};
    unsigned version = bytes_get_u8(r);
    if (version < EVENT_VERSION_FIRST || version > EVENT_VERSION)
        r->failed = true;
    if (r->failed)
        return -PARLEY_ERR_CORRUPT;
    e->id = bytes_get_u64(r);
    e->time_ms = bytes_get_varint(r);
    if (has_conversation(e->kind))
        e->conversation = bytes_get_id16(r);
    if (has_command(e->kind)) {
        e->actor = get_text(r, 1, USER_ID_BYTES_MAX);
        e->client_id = get_text(r, 1, CLIENT_ID_BYTES_MAX);
        e->fingerprint = bytes_get_id16(r);
        e->payload_hash = bytes_get_u64(r);
    }
    get_fields(r, version, e);
    return r->failed || e->id == 0 ? -PARLEY_ERR_CORRUPT : 0;
}
