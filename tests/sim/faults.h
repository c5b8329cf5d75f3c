/* faults.h - the schedule of what goes wrong, drawn up before the run begins, so that it can be printed, and faults
 * left out one by one. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FAULTS_MAX 256

struct fault_options {
    uint64_t until_us; /* None begins later than this after the start. */
    bool lose_disks;   /* Also what today's design does not survive. */
    const bool *skip;  /* FAULTS_MAX, by place in the schedule; NULL: leave none out. */
};
/* Draw up the schedule and set it going. */
void faults_begin(const struct fault_options *o);
/* How many there are, and all of them in words. */
size_t faults_n(void);
void faults_print(const bool *skip);
/* All trouble ends: cuts heal, disks have room and are well, everybody is started, or in some runs only a majority.
 * Pauses run out. */
void faults_cease(void);
/* Now really everybody. */
void faults_start_rest(void);
