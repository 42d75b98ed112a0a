#include "src/machine/turn.h"

#include "src/base/error.h"
#include "src/base/utf8.h"

int command_check_text(struct span s, size_t min, size_t max)
{
    if (s.len < min)
        return -PARLEY_ERR_BAD_REQUEST;
    if (s.len > max)
        return -PARLEY_ERR_TOO_LARGE;
    return utf8_valid(s) ? 0 : -PARLEY_ERR_BAD_UTF8;
}

static int check_create(const struct command *c)
{
    if (c->type < CONVERSATION_DIRECT || c->type > CONVERSATION_CHANNEL)
        return -PARLEY_ERR_BAD_REQUEST;
    if (c->member_count > CREATE_MEMBERS_MAX)
        return -PARLEY_ERR_LIMIT;
    int rc = command_check_text(c->title, 0, TITLE_BYTES_MAX);
    for (uint32_t i = 0; rc == 0 && i < c->member_count; i++) {
        rc = command_check_text(c->members[i].user, 1, USER_ID_BYTES_MAX);
        if (rc == 0 && (c->members[i].role > ROLE_OWNER))
            rc = -PARLEY_ERR_BAD_REQUEST;
    }
    return rc;
}

static int check_send(const struct command *c)
{
    int rc = command_check_text(c->content_type, 0, CONTENT_TYPE_BYTES_MAX);
    if (rc == 0 && c->body.len == 0)
        rc = -PARLEY_ERR_BAD_REQUEST;
    if (rc == 0 && c->body.len > BODY_BYTES_MAX)
        rc = -PARLEY_ERR_TOO_LARGE;
    if (rc == 0 && event_body_is_text(c->content_type) && !utf8_valid(c->body))
        rc = -PARLEY_ERR_BAD_UTF8;
    return rc;
}

/* What the formats of events and rows can hold at all; the configured limits are judged after dedup. */
int command_check_form(const struct command *c)
{
    int rc = command_check_text(c->actor, 1, USER_ID_BYTES_MAX);
    if (c->kind == COMMAND_RECEIPT)
        return rc ? rc : c->read_seq || c->delivered_seq ? 0 : -PARLEY_ERR_BAD_REQUEST;
    if (rc == 0)
        rc = command_check_text(c->client_id, 1, CLIENT_ID_BYTES_MAX);
    if (rc == 0)
        rc = command_check_text(c->device, 0, DEVICE_ID_BYTES_MAX);
    if (rc)
        return rc;
    switch (c->kind) {
    case COMMAND_CREATE:
        return check_create(c);
    case COMMAND_ADD:
    case COMMAND_REMOVE:
        rc = c->role > ROLE_OWNER ? -PARLEY_ERR_BAD_REQUEST : 0;
        break;
    case COMMAND_ROLE:
        rc = c->role < ROLE_READ_ONLY || c->role > ROLE_OWNER ? -PARLEY_ERR_BAD_REQUEST : 0;
        break;
    case COMMAND_SEND:
        return check_send(c);
    case COMMAND_FENCE:
    case COMMAND_RECEIPT:
        return 0;
    case COMMAND_PROFILE:
        return command_check_text(c->display_name, 0, DISPLAY_NAME_BYTES_MAX);
    default:
        return -PARLEY_ERR_BAD_REQUEST;
    }
    return rc ? rc : command_check_text(c->target, 1, USER_ID_BYTES_MAX);
}
