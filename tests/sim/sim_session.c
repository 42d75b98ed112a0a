#include "tests/sim/sim_session.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "net/chat_json.h"
#include "src/base/error.h"
#include "tests/sim/sim_device.h"
#include "tests/sim/sim_door.h"
#include "tests/sim/sim_live.h"
#include "tests/sim/sim_trace.h"

enum { FRAMES_A_STEP = 6, SLEEP_STEPS = 400, HEARD_MAX = 8 };

static struct id16 *id_of(const struct sim_session *s, uint32_t conversation)
{
    return &s->world->oracle.conversations[conversation].id;
}

static bool ready(const struct sim_session *s)
{
    return s->socket && s->session;
}

/* -- what it keeps */

static void keep(struct sim_session *s, uint32_t conversation, uint32_t place)
{
    struct sim_kept *k = &s->kept[conversation];
    if (place >= k->has_max) {
        uint32_t max = place + 64;
        k->has = realloc(k->has, max);
        parley_assert(k->has);
        memset(k->has + k->has_max, 0, max - k->has_max);
        k->has_max = max;
    }
    k->has[place] = 1;
}

void sim_session_told(struct sim_world *w, const struct sim_op *op)
{
    const struct sim_conversation *c = &w->oracle.conversations[op->conversation];
    uint32_t place = sim_oracle_message_at(c, op->id);
    if (op->kind == COMMAND_SEND && place < c->message_count && c->messages[place].id == op->id)
        keep(&w->sessions[op->device], op->conversation, place);
}

/* It is in, for all it knows; `from`: what it wants begins behind it. */
static void believe(struct sim_session *s, uint32_t conversation, uint64_t from)
{
    struct sim_kept *k = &s->kept[conversation];
    k->member = true;
    if (!k->known)
        k->from = k->last = from;
    k->known = true;
}

static void out_of_step(struct sim_session *s, uint32_t conversation)
{
    s->follow[conversation].synced = false;
    s->follow[conversation].wanted = s->kept[conversation].member;
}

/* -- frames */

static void on_hello(struct sim_session *s, const struct sim_said *said)
{
    s->session = said->session;
    s->list_wanted = true;
    for (uint32_t i = 0; i < SIM_CONVERSATIONS_MAX; i++)
        out_of_step(s, i);
}

static void on_message(struct sim_session *s, uint32_t at, const struct sim_said *said)
{
    const struct sim_conversation *c = &s->world->oracle.conversations[at];
    struct sim_kept *k = &s->kept[at];
    struct sim_follow *f = &s->follow[at];
    if (!said->replay && !k->member) {
        f->touched = true;
        believe(s, at, 0); /* nobody has told it yet */
        out_of_step(s, at);
    }
    if (!said->replay && (f->resuming || !f->synced || said->id <= k->last))
        return;
    keep(s, at, sim_oracle_message_at(c, said->id));
    if (said->replay)
        return;
    sim_live_must_have(s, at, k->last, said->id, "it is told of a later one");
    k->last = said->id;
}

static void on_resumed(struct sim_session *s, uint32_t at, const struct sim_said *said)
{
    struct sim_kept *k = &s->kept[at];
    struct sim_follow *f = &s->follow[at];
    f->resuming = false;
    if (said->last > k->last) {
        sim_live_must_have(s, at, k->last, said->last, "it has resumed");
        k->last = said->last;
    }
    f->synced = k->member && !f->wanted;
}

static void on_event(struct sim_session *s, uint32_t at, const struct sim_said *said)
{
    const char *name = s->world->users[s->user].name;
    struct sim_kept *k = &s->kept[at];
    struct sim_follow *f = &s->follow[at];
    bool of_him = chat_is(said->target, name);
    bool new =
        !k->known &&
        said->id > f->sure_after; /* else something behind it may be lost, though it came after the lag */
    f->touched = f->touched || of_him || chat_is(said->kind, "created");
    if (chat_is(said->kind, "created")) {
        believe(s, at, 0);
        f->synced = f->synced || (new && !f->resuming && !f->wanted);
        f->wanted = !f->synced && !f->resuming;
    } else if (of_him && chat_is(said->kind, "removed")) {
        if (f->synced && !f->resuming && !f->asked_twice)
            sim_live_must_have(s, at, k->last, said->id, "it is told that he was removed");
        k->member = f->synced = f->wanted = false;
    } else if (of_him && chat_is(said->kind, "added")) {
        new = new && s->device % 2;
        believe(s, at, new ? said->id : 0);
        f->synced = new && !f->resuming;
        f->wanted = !f->synced;
    }
}

/* All that it had before is sure; what it asks for now comes after that. Half of the devices know that a resume which
 * is under way brings what was lost. */
static void on_lag(struct sim_session *s)
{
    s->list_wanted = true;
    for (uint32_t i = 0; i < SIM_CONVERSATIONS_MAX; i++) {
        struct sim_follow *f = &s->follow[i];
        if (!f->resuming || s->device % 2 == 0)
            out_of_step(s, i);
    }
}

static void on_error(struct sim_session *s, uint32_t at, const struct sim_said *said)
{
    struct sim_world *w = s->world;
    if (said->client_id.len) {
        sim_device_told(w, said->client_id, said->err, 0, 0);
        return;
    }
    if (at ==
        UINT32_MAX) /* else of a resume, perhaps of one that it has asked for twice: what came meanwhile was held back */
        return;
    s->follow[at].resuming = false;
    out_of_step(s, at);
    s->list_wanted =
        s->list_wanted || said->err == -PARLEY_ERR_NOT_MEMBER || said->err == -PARLEY_ERR_NOT_FOUND;
    if (s->list_wanted)
        s->follow[at].wanted = false; /* the list decides */
}

static void take(struct sim_session *s, const struct sim_frame *frame)
{
    struct sim_world *w = s->world;
    struct sim_said said;
    uint32_t at = UINT32_MAX;
    sim_say("device %u reads %s", s->device, frame->text);
    sim_must(sim_frame_read(w->frame_reader, w->inner_reader,
                            (struct span){(const uint8_t *)frame->text, frame->len}, &said),
             "live", "device %u is told what no client understands: %s", s->device, frame->text);
    if (said.has_conversation) {
        const struct sim_conversation *c = sim_oracle_find(&w->oracle, &said.conversation);
        sim_must(c, "live", "device %u is told of a conversation that there is not", s->device);
        at = (uint32_t)(c - w->oracle.conversations);
    }
    sim_live_frame(s, at, &said);
    switch (said.type) {
    case SIM_FRAME_HELLO:
        on_hello(s, &said);
        break;
    case SIM_FRAME_ACK:
        sim_device_told(w, said.client_id, 0, said.id, said.seq);
        break;
    case SIM_FRAME_MESSAGE:
        on_message(s, at, &said);
        break;
    case SIM_FRAME_EVENT:
        on_event(s, at, &said);
        break;
    case SIM_FRAME_RESUMED:
        on_resumed(s, at, &said);
        break;
    case SIM_FRAME_LAG:
        on_lag(s);
        break;
    case SIM_FRAME_ERROR:
        on_error(s, at, &said);
        break;
    default:
        break;
    }
}

/* -- what it asks for */

static void ask_list(struct sim_session *s)
{
    struct sim_call *call = sim_world_call(s->world, s->device, s->user);
    call->request.kind = SHARD_LIST;
    call->request.limit = LIST_LIMIT_MAX;
    call->connection = s->number;
    s->list_call = call->number;
    for (uint32_t i = 0; i < SIM_CONVERSATIONS_MAX; i++)
        s->follow[i].touched = false;
    sim_say("device %u: call %" PRIu64 ", its list", s->device, call->number);
}

void sim_session_listed(struct sim_world *w, const struct sim_call *call)
{
    struct sim_session *s = &w->sessions[call->device];
    const struct shard_page *page = &call->request.page;
    struct bytes_reader r = bytes_reader_of(page->entries, page->len);
    uint32_t listed = 0;
    if (call->connection != s->number || s->list_call != call->number)
        return;
    s->list_call = 0;
    if (call->request.error || !ready(s))
        return;
    s->list_wanted = false;
    for (uint32_t i = 0; i < page->count; i++) {
        struct id16 id = bytes_get_id16(&r);
        (void)bytes_get_u64(&r);
        const struct sim_conversation *c = sim_oracle_find(&w->oracle, &id);
        listed |= 1u << (c - w->oracle.conversations);
    }
    for (uint32_t i = 0; i < w->oracle.conversation_count; i++) {
        struct sim_follow *f = &s->follow[i];
        if (f->touched) /* that is newer than the list */
            continue;
        bool again = !s->kept[i].member; /* a resume that is under way may be from before */
        if (listed & 1u << i)
            believe(s, i, 0);
        else
            s->kept[i].member = f->synced = false;
        f->wanted = s->kept[i].member && !f->synced && (again || !f->resuming);
    }
}

static void ask_resume(struct sim_session *s, uint32_t conversation)
{
    struct sim_follow *f = &s->follow[conversation];
    f->wanted = false;
    f->asked_twice = f->asked_twice || f->resuming;
    f->resuming = true;
    sim_socket_write(s->socket, sim_frame_resume(id_of(s, conversation), s->kept[conversation].last), NULL);
    sim_say("device %u resumes conversation %u after %" PRIu64, s->device, conversation,
            s->kept[conversation].last);
}

/* One in so many times it does what it should. */
static void ask_what_is_due(struct sim_session *s, uint32_t one_in)
{
    struct sim_random *r = &s->world->random;
    if (!ready(s) || s->socket->heard.count >= HEARD_MAX)
        return;
    if (s->list_wanted && (!s->list_call || (one_in > 1 && sim_below(r, 8) == 0)) &&
        sim_below(r, one_in) == 0)
        ask_list(s);
    for (uint32_t i = 0; i < s->world->oracle.conversation_count; i++)
        if (s->follow[i].wanted && sim_below(r, one_in) == 0)
            ask_resume(s, i);
}

bool sim_session_give(struct sim_world *w, struct sim_op *op)
{
    struct sim_session *s = &w->sessions[op->device];
    bool receipt = op->kind == COMMAND_RECEIPT;
    if (!ready(s) || s->socket->heard.count >= HEARD_MAX || !(receipt || op->kind == COMMAND_SEND))
        return false;
    const char *text = receipt ? sim_frame_receipt(op, &w->oracle.names, id_of(s, op->conversation))
                               : sim_frame_send(op, &w->oracle.names, id_of(s, op->conversation));
    op->copies++;
    op->connection = s->number;
    if (receipt)
        op->open = false; /* it has no answer but an error */
    sim_socket_write(s->socket, text, op);
    sim_say("device %u: %s c%u of conversation %u by u%u, on its connection", s->device,
            sim_op_kind_name(op->kind), op->number, op->conversation, op->user);
    return true;
}

static void type(struct sim_session *s)
{
    uint32_t count = s->world->oracle.conversation_count;
    if (ready(s) && count && s->socket->heard.count < HEARD_MAX)
        sim_socket_write(s->socket, sim_frame_typing(id_of(s, sim_below(&s->world->random, count))), NULL);
}

/* -- the connection */

static void unheard(void *owner, void *about)
{
    (void)owner;
    sim_world_copy_ended(about);
}

static void hang_up(struct sim_session *s)
{
    sim_say("device %u hangs up", s->device);
    sim_socket_hang_up(s->socket, unheard, NULL);
    s->socket = NULL;
}

static void come(struct sim_session *s)
{
    struct sim_world *w = s->world;
    uint32_t reactor = sim_below(&w->random, w->plan->reactors);
    s->socket = sim_door_connect(w, reactor, s->device, s->user);
    if (!s->socket)
        return;
    s->socket->device = s;
    s->number++;
    s->session = 0;
    s->hello_sent = false;
    s->list_call = 0;
    memset(s->follow, 0, sizeof s->follow);
    sim_say("device %u connects to reactor %u", s->device, reactor);
}

static void read_some(struct sim_session *s, uint32_t most)
{
    struct sim_frame *frame;
    while (most-- > 0 && s->socket && (frame = sim_socket_read(s->socket)) != NULL) {
        take(s, frame);
        free(frame);
    }
    if (s->socket && sim_socket_ended(s->socket))
        hang_up(s);
}

void sim_session_step(struct sim_world *w, uint32_t device)
{
    struct sim_session *s = &w->sessions[device];
    struct sim_random *r = &w->random;
    const uint32_t *rate = w->plan->rate;
    if (s->asleep_until > w->step)
        return;
    if (!s->socket) {
        if (w->up && sim_below(r, 3) == 0)
            come(s);
    } else if (sim_chance(r, rate[SIM_CUT])) {
        hang_up(s);
    } else if (sim_chance(r, rate[SIM_SLEEP])) {
        s->asleep_until = w->step + sim_below(r, SLEEP_STEPS);
        sim_say("device %u does not read", device);
    } else {
        read_some(s, 1 + sim_below(r, FRAMES_A_STEP));
        ask_what_is_due(s, 1 + sim_below(r, 3));
        if (sim_below(r, 12) == 0)
            type(s);
    }
}

void sim_session_round(struct sim_world *w)
{
    for (uint32_t i = 0; i < w->plan->devices; i++) {
        struct sim_session *s = &w->sessions[i];
        s->asleep_until = 0;
        if (s->list_call && !sim_world_has_call(w, s->list_call))
            s->list_call = 0; /* it was lost */
        if (s->socket)
            read_some(s, UINT32_MAX);
        else if (w->up)
            come(s);
        if (!w->damaged) /* else it might ask for ever; and all at once might refuse each other for ever */
            ask_what_is_due(s, 1 + sim_below(&w->random, 4));
    }
}

bool sim_session_rests(const struct sim_world *w)
{
    for (uint32_t i = 0; i < w->plan->devices; i++) {
        const struct sim_session *s = &w->sessions[i];
        if (!ready(s) || s->list_wanted || s->list_call || s->socket->wire.first)
            return false;
        for (uint32_t c = 0; c < w->oracle.conversation_count; c++)
            if (s->follow[c].wanted || s->follow[c].resuming)
                return false;
    }
    return true;
}

void sim_session_relist(struct sim_world *w)
{
    for (uint32_t i = 0; i < w->plan->devices; i++)
        w->sessions[i].list_wanted = true;
}

void sim_session_init(struct sim_world *w)
{
    w->sessions = calloc(w->plan->devices, sizeof *w->sessions);
    parley_assert(w->sessions);
    for (uint32_t i = 0; i < w->plan->devices; i++) {
        w->sessions[i].world = w;
        w->sessions[i].device = i;
        w->sessions[i].user = i % w->plan->users;
    }
}

void sim_session_clear(struct sim_world *w)
{
    for (uint32_t i = 0; i < w->plan->devices; i++) {
        if (w->sessions[i].socket)
            hang_up(&w->sessions[i]);
        for (uint32_t c = 0; c < SIM_CONVERSATIONS_MAX; c++)
            free(w->sessions[i].kept[c].has);
    }
    free(w->sessions);
}
