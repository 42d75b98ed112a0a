/* net/chat_call.h: one HTTP request to the chat, from its token to its answer.
 *
 * Why:    a shard may answer after the client has gone: what it was asked, with all its texts, belongs to the call and not
 *         to h2o's request.
 * Shape:  chat_call_begin -> (a begin function fills `shard`) -> submit -> answered -> chat_call_reply or _refuse: the end
 * Thread: the reactor's.
 * Owner:  itself: whoever answers it ends it. When the client goes `req` becomes NULL, and the answer is forgotten.
 * Errors: answered to the client from the one table.
 */
#ifndef PARLEY_NET_CHAT_CALL_H
#define PARLEY_NET_CHAT_CALL_H

#include "net/chat_http.h"
#include "net/json_writer.h"
#include "net/query.h"

enum chat_param {
    CHAT_AFTER,
    CHAT_ALL,
    CHAT_AROUND,
    CHAT_AS,
    CHAT_BEFORE,
    CHAT_CLIENT_ID,
    CHAT_CLIENT_MSG_ID,
    CHAT_LIMIT,
    CHAT_PAGE,
    CHAT_PARAM_COUNT
};

/* In the request's pool: what is left to do when it dies. */
struct chat_call_slot {
    struct chat_call *call; /* NULL: it was answered */
    struct chat_http *chat;
    size_t answer_bytes; /* counted in the chat's */
};

struct chat_call {
    struct shard_request shard;
    struct chat_http *chat;
    h2o_req_t *req;
    struct chat_call_slot *back;
    struct jwt_claims claims;
    struct command_member *members; /* CREATE */
    struct shard_request *parts;    /* LIST: one for each conversation */
    uint32_t part_count, part_waits;
    struct fault fault; /* beside the error with which the call is refused */
    bool all;           /* MEMBERS: those who left, too */
    /* Only until it is submitted: they point into the request. */
    struct query_path path;
    struct query_param params[CHAT_PARAM_COUNT];
    struct bytes_writer kept; /* over `texts`: room for all of path, query and body */
    uint8_t texts[];
};

/* NULL: it was answered already. */
struct chat_call *chat_call_begin(struct chat_http *chat, h2o_req_t *req);
/* Who asks: the token's user, or whom his service names with `as`. Once the params are read. */
PARLEY_MUST_USE int chat_call_authenticate(struct chat_call *call);

/* A copy that lives as long as the call. */
struct span chat_call_keep(struct chat_call *call, struct span text);
/* Fields point into the request or the reader: what is to live longer is kept. */
PARLEY_MUST_USE int chat_call_read(struct chat_call *call, struct json_field *fields, size_t count);
/* A field or parameter that is not what it must be: answers -PARLEY_ERR_BAD_REQUEST, and the client is told. */
PARLEY_MUST_USE int chat_call_bad(struct chat_call *call, const char *field, const char *must);
PARLEY_MUST_USE int chat_call_bad_field(struct chat_call *call, const struct json_field *field);
/* The path's segment as the conversation. Errors: -PARLEY_ERR_NOT_FOUND. */
PARLEY_MUST_USE int chat_call_conversation(struct chat_call *call);
/* Whom it is about. Errors: of a user id's form. */
PARLEY_MUST_USE int chat_call_target(struct chat_call *call, struct span user);
/* Is this parameter there, and a client's id? */
PARLEY_MUST_USE int chat_call_client_id(struct chat_call *call, enum chat_param param);
/* Without the parameter `*out` stays as it is; `must` says what it must be. */
PARLEY_MUST_USE int chat_call_number(struct chat_call *call, enum chat_param param, uint64_t min,
                                     uint64_t max, const char *must, uint64_t *out);

/* Each ends the call. */
void chat_call_refuse(struct chat_call *call, int err);
void chat_call_reply(struct chat_call *call, int status, struct span body);
/* Room for an answer that `write` fills; PARLEY_ERR_NOMEM and what `write` returns is refused. */
void chat_call_reply_written(struct chat_call *call, size_t room,
                             int (*write)(struct json_writer *w, struct chat_call *call));

/* COMMAND: {"id","duplicate"}, the id of the event. */
void chat_call_answered_event(struct shard_request *shard);

#endif
