/* stall.c - the time between looks is added up, each with its bound. */
#include "node/stall.h"

uint64_t stall_look(struct stall *s, uint64_t now_ms, bool waiting, uint64_t progress)
{
    uint64_t since_ms = now_ms - s->looked_ms;
    if (!waiting || progress != s->progress)
        s->ms = 0;
    else
        s->ms += since_ms < STALL_LOOK_MS_MAX ? since_ms : STALL_LOOK_MS_MAX;
    s->looked_ms = now_ms;
    s->progress = progress;
    return s->ms;
}
