/* stall.h - tells a disk that has stopped answering from one that is slow. Pure; loop thread. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#define STALL_LOOK_MS_MAX 250 /* Between two looks no more than this counts. */

/* Zeroed: nothing was seen yet. */
struct stall {
    uint64_t progress, looked_ms, ms;
};

/* Look again. waiting: an answer is due; progress: a number that changes with each answer. For how
 * long, in ms, it has been waiting without any. A process that was itself stopped, or a machine that slept, looks once
 * when it wakes up: that does not count as the disk's silence. */
uint64_t stall_look(struct stall *s, uint64_t now_ms, bool waiting, uint64_t progress);
