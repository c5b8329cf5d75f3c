/* event.h - what others may want to hear about while an entry is applied. */
#pragma once
#include "store/command.h"

enum store_event_kind {
    STORE_LOCK_GRANTED,   /* The waiter with this token holds the lock now. */
    STORE_LOCK_TIMED_OUT, /* Its time to wait is over. */
    STORE_LOCK_WITHDRAWN, /* It has left the queue because it was asked to. */
    STORE_LOCK_ORPHANED,  /* Its session has ended. */
    STORE_LOCK_BROKEN,    /* All holders have been put out; told once, with token 0. */
    /* Of those who wait for a list. */
    STORE_WAIT_OFFERED,   /* There is something to be taken. */
    STORE_WAIT_TIMED_OUT, /* Its time to wait is over. */
    STORE_WAIT_ENDED,     /* It does not wait any more: its node or session counts as gone. */
};

struct store_event {
    enum store_event_kind kind;
    uint64_t token;
    struct bytes name;
    struct bytes reason, who; /* Of a break. */
};
