#include "net/ws_message.h"

#include "src/base/error.h"
#include "src/base/memory.h"

#include <string.h>

enum { ROOM_BYTES_MIN = 1024 };

static int reserve(struct ws_message *m, size_t more)
{
    size_t need = m->len + more;
    parley_assert(need <= UINT32_MAX);
    if (need <= m->room)
        return 0;
    size_t room = m->room ? m->room : ROOM_BYTES_MIN;
    while (room < need) /* doubling: a message of many small fragments stays linear */
        room *= 2;
    if (room > UINT32_MAX)
        room = UINT32_MAX;
    uint8_t *data = memory_realloc(m->data, room);
    if (!data)
        return -PARLEY_ERR_NOMEM;
    m->data = data;
    m->room = (uint32_t)room;
    return 0;
}

int ws_message_add(struct ws_message *m, const struct ws_event *event, struct span *whole, bool *complete)
{
    parley_assert(event->kind == WS_EVENT_DATA);
    *complete = false;
    if (event->first && event->last) {
        *whole = event->payload;
        *complete = true;
        return 0;
    }
    if (event->first)
        ws_message_reset(m);
    int err = reserve(m, event->payload.len);
    if (err)
        return err;
    if (event->payload.len)
        memcpy(m->data + m->len, event->payload.data, event->payload.len);
    m->len += (uint32_t)event->payload.len;
    if (event->last) {
        *whole = (struct span){m->data, m->len};
        *complete = true;
    }
    return 0;
}

void ws_message_reset(struct ws_message *m)
{
    memory_free(m->data);
    *m = (struct ws_message){0};
}
