/* checks.h - what must hold between any two events, on any node. */
#pragma once

void checks_begin(void);
void checks_end(void);
/* After an event of node i. */
void checks_node(int i);
/* All nodes stand at one state, or no further behind it than what is on its way. */
void checks_remember_applied(void);
void checks_all_caught_up(void);
/* How each node stands, for the reader of a failing seed. */
void checks_describe(void);
