#include "tools/commands/import_plan.h"

#include <stdio.h>
#include <string.h>

#include "src/base/error.h"
#include "src/base/memory.h"
#include "tools/commands/import_line.h"
#include "tools/commands/line_reader.h"

enum { PAIR_ROOM_FIRST = 1024 };

static uint64_t *pair_slot(const struct import_plan *p, uint64_t pair)
{
    uint64_t at = (pair * UINT64_C(0x9e3779b97f4a7c15)) >> 20 & (p->pair_room - 1);
    while (p->pairs[at] && p->pairs[at] != pair + 1)
        at = (at + 1) & (p->pair_room - 1);
    return &p->pairs[at];
}

static int pairs_grow(struct import_plan *p)
{
    uint64_t *old = p->pairs, old_room = p->pair_room, room = old_room ? old_room * 2 : PAIR_ROOM_FIRST;
    uint64_t *pairs = memory_zalloc(room * sizeof *pairs);
    if (!pairs)
        return -PARLEY_ERR_NOMEM;
    p->pairs = pairs;
    p->pair_room = room;
    for (uint64_t i = 0; i < old_room; i++)
        if (old[i])
            *pair_slot(p, old[i] - 1) = old[i];
    memory_free(old);
    return 0;
}

static int add_member(struct import_plan *p, uint32_t conversation, uint32_t person)
{
    struct plan_conversation *c = &p->list[conversation];
    uint64_t pair = (uint64_t)conversation << 32 | person;
    int err = p->pair_count * 2 >= p->pair_room ? pairs_grow(p) : 0;
    if (err)
        return err;
    uint64_t *slot = pair_slot(p, pair);
    if (*slot)
        return 0;
    if (c->member_count == c->member_room) {
        uint32_t room = c->member_room ? c->member_room * 2 : 8;
        uint32_t *members = memory_realloc(c->members, room * sizeof *members);
        if (!members)
            return -PARLEY_ERR_NOMEM;
        c->members = members;
        c->member_room = room;
    }
    c->members[c->member_count++] = person;
    *slot = pair + 1;
    p->pair_count++;
    return 0;
}

static int add_conversation(struct import_plan *p, struct span name, uint32_t *number)
{
    bool fresh;
    int err = names_add(&p->conversations, name, number, &fresh);
    if (err || !fresh)
        return err;
    if (*number == p->list_room) {
        uint32_t room = p->list_room ? p->list_room * 2 : 64;
        struct plan_conversation *list = memory_realloc(p->list, room * sizeof *list);
        if (!list)
            return -PARLEY_ERR_NOMEM;
        p->list = list;
        p->list_room = room;
    }
    p->list[*number] = (struct plan_conversation){.key = names_hash_64(name)};
    return 0;
}

static int add_line(struct import_plan *p, const struct import_line *line)
{
    uint32_t conversation, person;
    int err = add_conversation(p, line->conversation, &conversation);
    if (!err)
        err = names_add(&p->people, line->sender, &person, NULL);
    if (!err)
        err = add_member(p, conversation, person);
    p->good += !err;
    return err;
}

const char *import_plan_reason(int err)
{
    return err == -PARLEY_ERR_CORRUPT ? "the gzip stream is damaged or ends too early" : parley_err_text(err);
}

static int bad_line(struct import_plan *p, const struct plan_source *source, struct progress *progress,
                    const char *why)
{
    p->bad++;
    progress_clear(progress);
    if (p->bad <= PLAN_TOLD_MAX)
        fprintf(stderr, "%s:%llu: %s\n", source->name, (unsigned long long)p->lines, why);
    else if (p->bad == PLAN_TOLD_MAX + 1)
        fprintf(stderr, "%s: more bad lines follow\n", source->name);
    return source->strict ? -PARLEY_ERR_BAD_REQUEST : 0;
}

int import_plan_read(struct import_plan *p, const struct plan_source *source, struct progress *progress)
{
    struct line_reader *reader = NULL;
    struct json_reader *json = json_reader_create(LINE_BYTES_MAX);
    int err = json ? line_reader_open(source->fd, &reader) : -PARLEY_ERR_NOMEM;
    while (!err && !source->stopped()) {
        struct span text;
        struct import_line line;
        const char *why = "the line is too long";
        int read = line_reader_next(reader, &text);
        if (read == -PARLEY_ERR_END)
            break;
        p->lines = line_reader_number(reader);
        if (read && read != -PARLEY_ERR_TOO_LARGE) {
            progress_clear(progress);
            fprintf(stderr, "parley: %s after line %llu: %s\n", source->name, (unsigned long long)p->lines,
                    import_plan_reason(read));
            err = read;
            break;
        }
        if (!read)
            read = import_line_read(json, text, &line, &why);
        if (read == -PARLEY_ERR_END)
            p->empty++;
        else
            err = read ? bad_line(p, source, progress, why) : add_line(p, &line);
        if (p->lines % 1024 == 0)
            progress_show(progress, p->lines, line_reader_offset(reader), source->bytes);
    }
    line_reader_close(&reader);
    json_reader_destroy(&json);
    return err;
}

void import_plan_clear(struct import_plan *p)
{
    for (uint32_t i = 0; i < p->conversations.count && p->list; i++)
        memory_free(p->list[i].members);
    memory_free(p->list);
    memory_free(p->pairs);
    names_clear(&p->conversations);
    names_clear(&p->people);
    *p = (struct import_plan){0};
}
