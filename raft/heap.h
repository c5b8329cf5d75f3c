/* heap.h - libraft's memory. 0.22.1 does not survive to run out of it within an event: it frees the members it was
 * decoding and then frees them again. So it never sees that happen: when the system has no memory, small blocks come
 * from a reserve, the event is carried out to its end, and then the replica stops. Loop thread only. */
#pragma once
#include <stdbool.h>

/* Let libraft allocate here, before a replica uses it. What was short before counts no more. */
void heap_use(void);
/* Has the reserve been needed since the last call? */
bool heap_was_short(void);
