/* served.h - a node to talk to, on a thread of its own, where nothing ever fails. */
#pragma once

/* Where it listens, host:port. */
const char *served_start(void);
void served_stop(void);
