#include "tools/commands/import_queue.h"

#include <string.h>

#include "src/base/error.h"
#include "src/base/memory.h"

enum { ITEM_UNSENT, ITEM_SENT, ITEM_DONE };

int import_queue_init(struct import_queue *q, uint32_t lane_count, uint32_t each_max)
{
    *q = (struct import_queue){.each_max = each_max, .lane_count = lane_count};
    q->lanes = memory_zalloc((lane_count + 1ull) * sizeof *q->lanes);
    q->ready = memory_zalloc((lane_count + 1ull) * sizeof *q->ready);
    if (q->lanes && q->ready)
        return 0;
    import_queue_clear(q);
    return -PARLEY_ERR_NOMEM;
}

void import_queue_clear(struct import_queue *q)
{
    for (uint32_t i = 0; q->lanes && i < q->lane_count; i++)
        for (struct import_item *item = q->lanes[i].first, *next; item; item = next) {
            next = item->next;
            memory_free(item);
        }
    memory_free(q->lanes);
    memory_free(q->ready);
    *q = (struct import_queue){0};
}

static void make_ready(struct import_queue *q, uint32_t number)
{
    struct import_lane *lane = &q->lanes[number];
    if (lane->ready || lane->halted || !lane->unsent || lane->under_way >= q->each_max)
        return;
    q->ready[(q->ready_from + q->ready_count++) % q->lane_count] = number;
    lane->ready = true;
}

static size_t item_bytes(const struct import_item *item)
{
    return sizeof *item + item->sender.len + item->text.len;
}

int import_queue_push(struct import_queue *q, uint32_t number, const struct import_item *what)
{
    struct import_lane *lane = &q->lanes[number];
    struct import_item *item = memory_alloc(item_bytes(what));
    if (!item)
        return -PARLEY_ERR_NOMEM;
    *item = *what;
    item->next = NULL;
    item->lane = number;
    item->state = ITEM_UNSENT;
    memcpy(item->bytes, what->sender.data, what->sender.len);
    memcpy(item->bytes + what->sender.len, what->text.data, what->text.len);
    item->sender.data = item->bytes;
    item->text.data = item->bytes + what->sender.len;
    if (lane->last)
        lane->last->next = item;
    else
        lane->first = item;
    lane->last = item;
    if (!lane->unsent)
        lane->unsent = item;
    q->bytes += item_bytes(item);
    q->count++;
    make_ready(q, number);
    return 0;
}

/* The first from `item` on that is to be sent. */
static struct import_item *first_unsent(struct import_item *item)
{
    while (item && item->state != ITEM_UNSENT)
        item = item->next;
    return item;
}

struct import_item *import_queue_next(struct import_queue *q)
{
    while (q->ready_count > 0) {
        uint32_t number = q->ready[q->ready_from];
        struct import_lane *lane = &q->lanes[number];
        q->ready_from = (q->ready_from + 1) % q->lane_count;
        q->ready_count--;
        lane->ready = false;
        struct import_item *item = lane->unsent;
        /* It was halted since it became ready. */
        if (lane->halted || !item || lane->under_way >= q->each_max)
            continue;
        item->state = ITEM_SENT;
        lane->unsent = first_unsent(item->next);
        lane->under_way++;
        q->under_way++;
        make_ready(q, number);
        return item;
    }
    return NULL;
}

struct import_item *import_queue_find(const struct import_queue *q, uint32_t lane, uint64_t ordinal)
{
    struct import_item *item = q->lanes[lane].first;
    while (item && item->ordinal < ordinal)
        item = item->next;
    return item && item->ordinal == ordinal && item->state == ITEM_SENT ? item : NULL;
}

/* One answer came. */
static void answered(struct import_queue *q, uint32_t number)
{
    struct import_lane *lane = &q->lanes[number];
    parley_assert(lane->under_way && q->under_way);
    lane->under_way--;
    q->under_way--;
    if (lane->halted && lane->under_way == 0) {
        lane->halted = false;
        lane->unsent = first_unsent(lane->first);
    }
    make_ready(q, number);
}

void import_queue_done(struct import_queue *q, struct import_item *item)
{
    uint32_t number = item->lane;
    struct import_lane *lane = &q->lanes[number];
    for (const struct import_item *before = lane->first; before != item; before = before->next)
        if (before->state == ITEM_UNSENT) { /* it was refused, and this one came by */
            q->out_of_order++;
            break;
        }
    item->state = ITEM_DONE;
    while (lane->first && lane->first->state == ITEM_DONE) {
        struct import_item *first = lane->first;
        lane->first = first->next;
        if (!lane->first)
            lane->last = NULL;
        q->bytes -= item_bytes(first);
        q->count--;
        memory_free(first);
    }
    answered(q, number);
}

void import_queue_refused(struct import_queue *q, struct import_item *item)
{
    item->state = ITEM_UNSENT;
    q->lanes[item->lane].halted = true;
    answered(q, item->lane);
}

void import_queue_lost(struct import_queue *q)
{
    for (uint32_t i = 0; i < q->lane_count; i++) {
        struct import_lane *lane = &q->lanes[i];
        for (struct import_item *item = lane->first; item && lane->under_way; item = item->next)
            if (item->state == ITEM_SENT) {
                item->state = ITEM_UNSENT;
                lane->under_way--;
            }
        lane->halted = false;
        lane->unsent = first_unsent(lane->first);
        make_ready(q, i);
    }
    q->under_way = 0;
}

uint64_t import_queue_mark(const struct import_queue *q, uint64_t read)
{
    uint64_t mark = read;
    for (uint32_t i = 0; i < q->lane_count; i++)
        if (q->lanes[i].first && q->lanes[i].first->line - 1 < mark)
            mark = q->lanes[i].first->line - 1;
    return mark;
}
