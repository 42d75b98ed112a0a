#include "tests/sim/sim_frame.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "net/chat_json.h"
#include "src/base/error.h"
#include "src/base/rfc3339.h"

enum { TEXT_BYTES = 48 << 10 };

static char written[TEXT_BYTES];

/* -- reading */

enum field {
    TYPE,
    CONVERSATION,
    ID,
    SEQ,
    LAST,
    SESSION,
    KIND,
    CLIENT_ID,
    SENDER,
    TARGET,
    ROLE,
    USER,
    BODY,
    TIME,
    CREATED_AT,
    READ,
    DELIVERED,
    REPLAY,
    DUPLICATE,
    ERROR,
    FIELD_COUNT
};

static int error_of(struct json_reader *inner, struct span object)
{
    struct json_field code = {.name = "code", .kind = JSON_FIELD_STRING, .required = true};
    if (json_read(inner, object.data, object.len, &code, 1) != 0)
        return 0;
    for (int err = 1; err < PARLEY_ERR_COUNT; err++)
        if (chat_is(code.value.string, parley_err_code(err)))
            return -err;
    return 0;
}

static bool time_of(const struct json_field *field, uint64_t *ms)
{
    return !field->present || rfc3339_parse(field->value.string.data, field->value.string.len, ms) == 0;
}

static bool id_of(const struct json_field *field, uint64_t *id)
{
    return !field->present || json_id(field->value.string, id);
}

static bool type_of(struct span text, enum sim_frame_type *out)
{
    static const char *const types[] = {"hello", "ack",    "error",   "message",
                                        "event", "typing", "resumed", "lag"};
    for (int i = 0; i < SIM_FRAME_TYPE_COUNT; i++)
        if (chat_is(text, types[i])) {
            *out = (enum sim_frame_type)i;
            return true;
        }
    return false;
}

/* What the frames of its type always have. */
static bool is_whole(const struct json_field *f, enum sim_frame_type type)
{
    static const uint32_t needed[SIM_FRAME_TYPE_COUNT] = {
        [SIM_FRAME_HELLO] = 1u << SESSION | 1u << USER,
        [SIM_FRAME_ACK] = 1u << CLIENT_ID | 1u << ID | 1u << SEQ | 1u << DUPLICATE,
        [SIM_FRAME_ERROR] = 1u << ERROR,
        [SIM_FRAME_MESSAGE] = 1u << CONVERSATION | 1u << ID | 1u << SEQ | 1u << SENDER | 1u << TIME |
                              1u << CLIENT_ID | 1u << BODY,
        [SIM_FRAME_EVENT] = 1u << CONVERSATION | 1u << ID | 1u << KIND | 1u << TIME,
        [SIM_FRAME_TYPING] = 1u << CONVERSATION | 1u << USER,
        [SIM_FRAME_RESUMED] = 1u << CONVERSATION | 1u << LAST,
    };
    uint32_t has = 0;
    for (uint32_t i = 0; i < FIELD_COUNT; i++)
        has |= (uint32_t)f[i].present << i;
    return (has & needed[type]) == needed[type];
}

#define TEXT(field_name)                                                                                     \
    {                                                                                                        \
        .name = (field_name), .kind = JSON_FIELD_STRING                                                      \
    }
#define NUMBER(field_name)                                                                                   \
    {                                                                                                        \
        .name = (field_name), .kind = JSON_FIELD_INT                                                         \
    }
#define FLAG(field_name)                                                                                     \
    {                                                                                                        \
        .name = (field_name), .kind = JSON_FIELD_BOOL                                                        \
    }

static uint64_t number_of(const struct json_field *field)
{
    return field->present ? (uint64_t)field->value.integer : 0;
}

static struct span text_of(const struct json_field *field)
{
    return field->present ? field->value.string : (struct span){0};
}

bool sim_frame_read(struct json_reader *reader, struct json_reader *inner, struct span text,
                    struct sim_said *out)
{
    struct json_field f[FIELD_COUNT] = {
        [TYPE] = TEXT("type"),
        [CONVERSATION] = TEXT("conversation"),
        [ID] = TEXT("id"),
        [SEQ] = NUMBER("seq"),
        [LAST] = TEXT("last"),
        [SESSION] = TEXT("session"),
        [KIND] = TEXT("kind"),
        [CLIENT_ID] = TEXT("client_msg_id"),
        [SENDER] = TEXT("sender"),
        [TARGET] = TEXT("target"),
        [ROLE] = TEXT("role"),
        [USER] = TEXT("user"),
        [BODY] = TEXT("body"),
        [TIME] = TEXT("time"),
        [CREATED_AT] = TEXT("created_at"),
        [READ] = NUMBER("read"),
        [DELIVERED] = NUMBER("delivered"),
        [REPLAY] = FLAG("replay"),
        [DUPLICATE] = FLAG("duplicate"),
        [ERROR] = {.name = "error", .kind = JSON_FIELD_OBJECT},
    };
    *out = (struct sim_said){0};
    if (json_read(reader, text.data, text.len, f, FIELD_COUNT) != 0 || !f[TYPE].present ||
        !type_of(f[TYPE].value.string, &out->type) || !is_whole(f, out->type))
        return false;
    out->has_conversation = f[CONVERSATION].present;
    out->replay = f[REPLAY].present && f[REPLAY].value.boolean;
    out->duplicate = f[DUPLICATE].present && f[DUPLICATE].value.boolean;
    out->seq = number_of(&f[SEQ]);
    out->read_seq = number_of(&f[READ]);
    out->delivered_seq = number_of(&f[DELIVERED]);
    out->kind = text_of(&f[KIND]);
    out->client_id = text_of(&f[CLIENT_ID]);
    out->sender = text_of(&f[SENDER]);
    out->target = text_of(&f[TARGET]);
    out->role = text_of(&f[ROLE]);
    out->user = text_of(&f[USER]);
    out->body = text_of(&f[BODY]);
    out->err = f[ERROR].present ? error_of(inner, f[ERROR].value.object) : 0;
    return id_of(&f[ID], &out->id) && id_of(&f[LAST], &out->last) && id_of(&f[SESSION], &out->session) &&
           time_of(&f[TIME], &out->time_ms) && time_of(&f[CREATED_AT], &out->created_at_ms) &&
           (!out->has_conversation || chat_get_id16(f[CONVERSATION].value.string, &out->conversation)) &&
           (out->type != SIM_FRAME_ERROR || out->err);
}

/* -- writing */

static struct json_writer begin(const char *type, const struct id16 *conversation)
{
    struct json_writer w = json_writer_of((uint8_t *)written, sizeof written - 1);
    json_open_object(&w);
    json_key(&w, "type");
    json_put_text(&w, type);
    json_key(&w, "conversation");
    chat_put_id16(&w, conversation);
    return w;
}

static const char *end(struct json_writer *w)
{
    json_close_object(w);
    parley_assert(!w->out.failed);
    written[json_writer_len(w)] = 0;
    return written;
}

static void put_as(struct json_writer *w, const struct sim_op *op, const struct sim_names *names)
{
    if (!op->service)
        return;
    json_key(w, "as");
    json_put_text(w, names->users[op->user].name);
}

const char *sim_frame_send(const struct sim_op *op, const struct sim_names *names,
                           const struct id16 *conversation)
{
    struct json_writer w = begin("send", conversation);
    struct sim_op_text text;
    sim_op_text(op, names, false, &text);
    json_key(&w, "client_msg_id");
    json_put_string(&w, text.command.client_id);
    json_key(&w, "body");
    json_put_string(&w, text.command.body);
    json_key(&w, "content_type");
    json_put_string(&w, text.command.content_type);
    if (op->created_at_ms) {
        json_key(&w, "created_at");
        json_put_time(&w, op->created_at_ms);
    }
    put_as(&w, op, names);
    sim_op_text_end(&text);
    return end(&w);
}

static void put_seq(struct json_writer *w, const char *name, uint64_t seq)
{
    if (!seq)
        return;
    json_key(w, name);
    json_put_int(w, (int64_t)seq);
}

const char *sim_frame_receipt(const struct sim_op *op, const struct sim_names *names,
                              const struct id16 *conversation)
{
    struct json_writer w = begin("receipt", conversation);
    put_seq(&w, "read", op->read_seq);
    put_seq(&w, "delivered", op->delivered_seq);
    put_as(&w, op, names);
    return end(&w);
}

const char *sim_frame_typing(const struct id16 *conversation)
{
    struct json_writer w = begin("typing", conversation);
    return end(&w);
}

const char *sim_frame_resume(const struct id16 *conversation, uint64_t after)
{
    struct json_writer w = begin("resume", conversation);
    if (after) {
        json_key(&w, "after");
        json_put_id(&w, after);
    }
    return end(&w);
}
