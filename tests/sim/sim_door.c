#include "tests/sim/sim_door.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/chat_json.h"
#include "net/chat_live.h"
#include "src/base/error.h"
#include "src/base/memory.h"
#include "tests/sim/sim_check.h"
#include "tests/sim/sim_live.h"
#include "tests/sim/sim_trace.h"

enum {
    BODY_JSON_BYTES = 64 << 10,
    FRAME_BYTES = 1024, /* beside the body */
    TICK_MS = 15000,
    FRAMES_A_TURN = 4,
    LATE_ANSWERS = 4,
    QUIET_ROUNDS_MAX = 10000,
    TOKEN_DAYS = 4000
};
#define DAY_S (24ull * 3600)

static struct sim_reactor *reactor_at(struct sim_world *w, uint32_t shard)
{
    return &w->reactors[shard % w->plan->reactors];
}

static uint64_t now_ms(const struct sim_world *w)
{
    return clock_monotonic_ms(&w->clock.source);
}

/* -- what the door asks of shards */

static struct id16 router_hash(void *owner, const void *data, size_t len)
{
    const struct sim_reactor *r = owner;
    return hash_128(&r->world->key, data, len);
}

static uint64_t router_now_ms(void *owner)
{
    const struct sim_reactor *r = owner;
    return clock_wall_ms(&r->world->clock.source);
}

/* Gives the answer to who asked. */
static void deliver(struct sim_call *call)
{
    const struct shard_request *from = &call->request;
    struct shard_request *to = call->door;
    to->error = from->error;
    to->duplicate = from->duplicate;
    to->id = from->id;
    to->seq = from->seq;
    to->next_page = from->next_page;
    to->list_next = from->list_next;
    to->page = from->page;
    to->summary = from->summary;
    call->request.page = (struct shard_page){0};
    call->phase = SIM_GONE;
    to->answered(to);
}

void sim_door_answer(struct sim_world *w, struct sim_call *call)
{
    call->phase = SIM_RETURNING;
    if (call->here || !w->up)
        deliver(call);
}

/* What no frame has asked for just now is the server's own doing. */
static struct sim_op *op_of(const struct sim_world *w, const struct shard_request *request)
{
    for (uint32_t i = 0; i < w->oracle.op_count; i++)
        if (chat_is(request->command.client_id, w->oracle.ops[i]->client_id))
            return w->oracle.ops[i];
    return NULL;
}

static void submit(void *owner, struct shard_request *request)
{
    struct sim_reactor *r = owner;
    struct sim_world *w = r->world;
    uint32_t shard = hash_shard(&w->key, shard_request_key(request), w->plan->shards);
    uint32_t user = sim_oracle_user(&w->oracle, &request->command.actor_hash);
    const struct sim_conversation *c = sim_oracle_find(&w->oracle, &request->command.conversation);
    struct sim_call *call = sim_world_call(w, UINT32_MAX, user);
    call->request = *request;
    call->request.owner = call;
    call->door = request;
    call->home = r;
    call->here = reactor_at(w, shard) == r;
    call->conversation = c ? (uint32_t)(c - w->oracle.conversations) : 0;
    if (request->kind == SHARD_COMMAND) {
        call->op = r->hearing ? r->hearing : op_of(w, request);
        call->uncounted = !r->hearing;
        r->hearing = NULL;
    }
    sim_say("reactor %u: call %" PRIu64 ", kind %d of conversation %u for u%u", r->number, call->number,
            (int)request->kind, call->conversation, user);
    sim_world_submit(w, call, shard);
}

/* -- begin and end */

static uint16_t reactor_of(void *owner, const struct id16 *key)
{
    const struct sim_reactor *r = owner;
    const struct sim_world *w = r->world;
    return (uint16_t)(hash_shard(&w->key, key, w->plan->shards) % w->plan->reactors);
}

static void open_reactor(struct sim_world *w, uint16_t number)
{
    struct sim_reactor *r = &w->reactors[number];
    *r = (struct sim_reactor){.world = w, .number = number, .mailbox = mailbox_grid_at(w->grid, number)};
    mailbox_bind(r->mailbox);
    struct live_options options = {.mailbox = r->mailbox,
                                   .reactor_count = (uint16_t)w->plan->reactors,
                                   .shared = w->live_shared,
                                   .owner = r,
                                   .reactor_of = reactor_of,
                                   .room = chat_live_room,
                                   .encode = chat_live_encode};
    parley_assert(live_create(&options, &r->live) == 0);
    r->chat = (struct chat_http){.router = {r, router_hash, router_now_ms, submit},
                                 .tokens = w->tokens,
                                 .body_reader = w->body_reader,
                                 .open_max = SIM_DEVICES_MAX * 4};
    r->sockets.options.out_bytes_max =
        CHAT_WS_LIVE_QUEUED_BYTES_MAX + 2 * (w->plan->body_bytes_max + FRAME_BYTES) * w->plan->byte_weight;
    chat_ws_init(&r->door, &r->chat, r->live);
}

static void make_key(struct sim_world *w)
{
    static const uint8_t secret[JWT_SECRET_BYTES_MIN] = "a secret of the simulator";
    parley_assert(jwt_key_hs256(&w->token_key, secret, sizeof secret) == 0);
    w->tokens = jwt_verifier_create(&w->token_key);
    w->body_reader = json_reader_create(BODY_JSON_BYTES);
    w->frame_reader = json_reader_create(BODY_JSON_BYTES);
    w->inner_reader = json_reader_create(BODY_JSON_BYTES);
    w->typings = calloc(SIM_TYPINGS_MAX, sizeof *w->typings);
    parley_assert(w->tokens && w->body_reader && w->frame_reader && w->inner_reader && w->typings);
}

void sim_door_clear(struct sim_world *w)
{
    free(w->typings);
    json_reader_destroy(&w->inner_reader);
    json_reader_destroy(&w->frame_reader);
    json_reader_destroy(&w->body_reader);
    jwt_verifier_destroy(&w->tokens);
}

void sim_door_open(struct sim_world *w)
{
    const struct sim_plan *p = w->plan;
    struct mailbox_options mail = {(uint16_t)p->reactors, p->request_slots, p->live_slots};
    if (!w->tokens)
        make_key(w);
    parley_assert(mailbox_grid_create(&mail, &w->grid) == 0);
    parley_assert(live_shared_create((uint16_t)p->reactors, &w->live_shared) == 0);
    w->reactors = calloc(p->reactors, sizeof *w->reactors);
    parley_assert(w->reactors);
    for (uint16_t i = 0; i < p->reactors; i++)
        open_reactor(w, i);
}

static void unheard(void *owner, void *about)
{
    (void)owner;
    sim_world_copy_ended(about);
}

void sim_door_leave(struct sim_world *w)
{
    for (uint32_t i = 0; w->reactors && i < w->plan->reactors; i++)
        for (struct ws_socket *ws = w->reactors[i].sockets.all[0]; ws; ws = ws->next)
            if (ws->opened && !ws->code)
                ws->ops->leave(ws->owner);
}

void sim_door_shut(struct sim_world *w)
{
    for (uint32_t i = 0; w->reactors && i < w->plan->reactors; i++)
        while (w->reactors[i].sockets.all[0])
            sim_socket_drop(w->reactors[i].sockets.all[0], unheard, w);
}

static void on_message(void *owner, const struct mailbox_message *message)
{
    struct sim_reactor *r = owner;
    live_mailbox_message(r->live, message);
}

static void on_lagging(void *owner, uint16_t from)
{
    struct sim_reactor *r = owner;
    sim_say("reactor %u lags behind reactor %u", r->number, from);
    live_lagging(r->live, from);
}

static void drain(struct sim_reactor *r)
{
    struct mailbox_handler handler = {r, on_message, on_lagging};
    (void)mailbox_drain(r->mailbox, &handler);
}

static bool mailboxes_rest(const struct sim_world *w)
{
    uint64_t sent = 0, received = 0;
    for (uint32_t i = 0; i < w->plan->reactors; i++) {
        struct mailbox_counters c;
        mailbox_counters_read(w->reactors[i].mailbox, &c);
        sent += c.requests_sent + c.replies_sent + c.live_sent;
        received += c.messages_received;
    }
    return sent == received;
}

static void deliver_all(struct sim_world *w)
{
    for (struct sim_call *call = w->calls; call; call = call->next)
        if (call->door && call->phase == SIM_RETURNING)
            deliver(call);
}

void sim_door_close(struct sim_world *w)
{
    uint32_t open = 0, rounds = 0;
    if (!w->reactors)
        return;
    deliver_all(w);
    do {
        for (uint32_t i = 0; i < w->plan->reactors; i++) {
            drain(&w->reactors[i]);
            live_turn_end(w->reactors[i].live);
            mailbox_flush(w->reactors[i].mailbox);
        }
        open = 0;
        for (uint32_t i = 0; i < w->plan->reactors; i++)
            open += w->reactors[i].chat.open_count;
    } while (++rounds < QUIET_ROUNDS_MAX && (open || !mailboxes_rest(w)));
    sim_must(!open, "live", "%u sessions whose connections have ended are never freed", open);
    for (uint32_t i = 0; i < w->plan->reactors; i++) {
        chat_ws_dispose(&w->reactors[i].door);
        live_destroy(&w->reactors[i].live);
    }
    free(w->reactors);
    w->reactors = NULL;
    live_shared_destroy(&w->live_shared);
    mailbox_grid_destroy(&w->grid);
}

/* -- connections */

struct ws_socket *sim_door_connect(struct sim_world *w, uint32_t reactor, uint32_t device, uint32_t user)
{
    struct sim_reactor *r = &w->reactors[reactor];
    struct jwt_claims claims = {.exp_s = router_now_ms(r) / 1000 + TOKEN_DAYS * DAY_S};
    char token[JWT_TOKEN_BYTES_MAX], path[JWT_TOKEN_BYTES_MAX + 64];
    static const char accept[28];
    size_t len;
    claims.sub_len = (uint16_t)snprintf(claims.sub, sizeof claims.sub, "%s", w->users[user].name);
    claims.device_len = (uint16_t)snprintf(claims.device, sizeof claims.device, "d%u", device);
    if (device < w->plan->services)
        claims.scope_len = (uint16_t)snprintf(claims.scope, sizeof claims.scope, "service");
    parley_assert(jwt_mint(&w->token_key, &claims, token, &len) == 0);
    int path_len = snprintf(path, sizeof path, "/v1/ws?access_token=%.*s", (int)len, token);
    h2o_req_t req = {.path = {path, (size_t)path_len}};
    uint32_t before = r->sockets.socket_count;
    h2o_mem_init_pool(&req.pool);
    if (r->chat.open_count < r->chat.open_max) /* the door's answer would need libh2o's connection */
        chat_ws_begin(&r->door, &r->sockets, &req, accept);
    h2o_mem_clear_pool(&req.pool);
    return r->sockets.socket_count > before ? r->sockets.all[0] : NULL;
}

static bool is_over(struct sim_world *w, const struct ws_socket *ws)
{
    bool said = ws->code && !ws->filling.first && !ws->writing.first;
    if (said && (ws->device_gone || now_ms(w) >= ws->closing_ms))
        return true;
    return ws->device_gone && (w->rested || sim_below(&w->random, 3) == 0);
}

static void hear(struct sim_world *w, struct sim_reactor *r, struct ws_socket *ws)
{
    struct sim_frame *frame;
    for (uint32_t i = 0; i < FRAMES_A_TURN && (frame = sim_socket_hear(ws)) != NULL; i++) {
        r->hearing = frame->about;
        sim_say("reactor %u hears %s", r->number, frame->text);
        ws->ops->message(ws->owner, ws, true, (struct span){(const uint8_t *)frame->text, frame->len});
        if (r->hearing) /* it was refused at the door */
            sim_world_copy_ended(r->hearing);
        r->hearing = NULL;
        free(frame);
    }
    if (now_ms(w) - ws->ticked_ms >= TICK_MS && !ws->code && !ws->door_gone) {
        ws->ticked_ms = now_ms(w);
        ws->ops->tick(ws->owner);
    }
}

static void serve_sockets(struct sim_world *w, struct sim_reactor *r)
{
    for (struct ws_socket *ws = r->sockets.all[0], *next; ws; ws = next) {
        next = ws->next;
        if (is_over(w, ws))
            sim_socket_drop(ws, unheard, w);
        else if (!ws->opened)
            sim_socket_open(ws);
        else
            hear(w, r, ws);
    }
}

/* Some of them: what is left comes with a later turn. */
static void bring_answers(struct sim_world *w, const struct sim_reactor *r)
{
    uint32_t most = w->rested ? UINT32_MAX : 1 + sim_below(&w->random, LATE_ANSWERS);
    for (struct sim_call *call = w->calls; call && most > 0; call = call->next)
        if (call->home == r && call->phase == SIM_RETURNING) {
            deliver(call);
            most--;
        }
}

/* Whatever is applied from now on is told behind it. */
static void watch_hellos(const struct sim_reactor *r)
{
    for (const struct ws_socket *ws = r->sockets.all[0]; ws; ws = ws->next) {
        struct sim_session *s = ws->device;
        if (ws->filling.first && !ws->device_gone && s && !s->hello_sent)
            sim_live_hello(s);
    }
}

/* -- turns */

void sim_door_turn_begin(struct sim_world *w, struct sim_shard *s)
{
    struct sim_reactor *r = reactor_at(w, s->number);
    bool deaf = !w->rested && sim_chance(&w->random, w->plan->rate[SIM_DEAF]);
    serve_sockets(w, r);
    bring_answers(w, r);
    if (!deaf)
        drain(r);
    watch_hellos(r);
}

void sim_door_turn_end(struct sim_world *w, struct sim_shard *s)
{
    struct sim_reactor *r = reactor_at(w, s->number);
    live_turn_end(r->live);
    watch_hellos(r);
    for (struct ws_socket *ws = r->sockets.all[0]; ws; ws = ws->next)
        if (ws->opened)
            sim_socket_flush(ws, now_ms(w));
    mailbox_flush(r->mailbox);
}

/* -- what shards tell */

/* Memory may run out while it is told. */
static void starve(struct sim_world *w)
{
    if (!w->rested && sim_chance(&w->random, w->plan->rate[SIM_NO_MEMORY]))
        memory_fail_after(sim_below(&w->random, 6), 1 + sim_below(&w->random, 3));
}

void sim_door_applied(struct sim_world *w, const struct sim_shard *s, const struct shard_effect *effect)
{
    bool large = effect->conversation && effect->conversation->applied.page_count >= MACHINE_LARGE_PAGES;
    if (!w->reactors)
        return;
    starve(w);
    live_publish(reactor_at(w, s->number)->live, effect->event, effect->pages, effect->page_count, large,
                 effect->session);
    memory_fail_after(0, 0);
}

void sim_door_typing(struct sim_world *w, const struct sim_shard *s, const struct shard_typing *typing)
{
    uint8_t text[CHAT_TYPING_JSON_BYTES];
    if (!w->reactors || w->dead || w->dying)
        return;
    size_t len = chat_live_encode_typing(&typing->conversation, typing->user, text);
    sim_live_typing(w, typing);
    starve(w);
    live_tell_page(reactor_at(w, s->number)->live, &typing->conversation, typing->page,
                   (struct span){text, len}, typing->session);
    memory_fail_after(0, 0);
}

void sim_door_large_member(struct sim_world *w, const struct sim_shard *s, const struct id16 *user,
                           const struct id16 *conversation)
{
    if (!w->reactors)
        return;
    starve(w);
    live_tell_large(reactor_at(w, s->number)->live, user, conversation);
    memory_fail_after(0, 0);
}

/* -- rest */

bool sim_door_rests(const struct sim_world *w)
{
    for (uint32_t i = 0; i < w->plan->reactors; i++)
        for (const struct ws_socket *ws = w->reactors[i].sockets.all[0]; ws; ws = ws->next)
            if (!ws->opened || ws->code || ws->device_gone || ws->filling.first || ws->writing.first ||
                ws->heard.first)
                return false;
    return mailboxes_rest(w);
}
