/* failing.h - memory that runs out and files that fail, at the nth call of the thread that armed them and of no other.
 *
 * Memory is that of the code under test (through the linker's --wrap; test code that must not fail is compiled against
 * the real functions, see sweep/CMakeLists.txt), of libraft (whose memory raft/ provides) and of SQLite. Files are
 * SQLite's, through a VFS before the system's own, and those store/ opens, syncs and renames itself. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

enum failing_kind {
    FAILING_MEMORY,
    FAILING_FILES,      /* The call fails with an I/O error. */
    FAILING_FULL,       /* Calls that need space find the disk full; others do not count. */
    FAILING_SHORT_READ, /* A read finds less than it asked for, as behind the end of a file. */
};

/* Once, before SQLite is used. */
void failing_init(void);
/* Let call number nth from now (0: the next) fail, and when `on` all after it, too. */
void failing_arm(enum failing_kind kind, uint64_t nth, bool on);
/* True: a call has failed. */
bool failing_disarm(void);
/* Between these nothing fails or counts. They nest. */
void failing_pause(void);
void failing_resume(void);
