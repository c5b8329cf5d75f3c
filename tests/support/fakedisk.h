/* fakedisk.h - a struct io in memory, with a disk that keeps its promises and not one more.
 *
 * Files have what was written and what was synced; a crash keeps of every unsynced sector, size and name change what
 * chance decides. Jobs run when told to. Calls can be made to fail, or the power to go, at any one of them. Time
 * stands still until moved. Single thread. */
#pragma once
#include "raft/io.h"

#define FAKEDISK_SECTOR 512

struct fakedisk;

enum fakedisk_fault {
    FAKEDISK_POWER, /* The call may be carried out or not, in part or not; it and all after it fail until the crash. */
    FAKEDISK_ERROR, /* The call fails with IO_EIO; a failed sync loses what it should have synced. */
    FAKEDISK_FULL,  /* The call fails with IO_ENOSPC (those that need space). */
};

struct fakedisk *fakedisk_new(uint64_t seed);
void fakedisk_free(struct fakedisk *d);
struct io *fakedisk_io(struct fakedisk *d);

/* ---- Time and jobs ---- */
void fakedisk_advance(struct fakedisk *d, uint64_t ms);
/* Run the first job of a lane, and its done(). False: there is none. */
bool fakedisk_run_one(struct fakedisk *d, enum io_lane lane);
/* Its run() only; done() comes with the next fakedisk_deliver(). */
bool fakedisk_work_one(struct fakedisk *d, enum io_lane lane);
void fakedisk_deliver(struct fakedisk *d);
/* Run jobs until none is left. */
void fakedisk_run_all(struct fakedisk *d);
bool fakedisk_idle(const struct fakedisk *d, enum io_lane lane);
uint64_t fakedisk_timer_at(const struct fakedisk *d); /* UINT64_MAX: never set. */

/* What struct io lacks and SQLite needs: cut a file off at len bytes (one that is shorter stays as it is). */
int fakedisk_truncate(struct fakedisk *d, struct io_file *f, uint64_t len);

/* ---- Trouble ---- */
/* Calls made so far that change something (open to create, write, sync, allocate, truncate, rename, unlink,
 * sync_dir). */
uint64_t fakedisk_calls(const struct fakedisk *d);
/* Let call number `call` (as counted above, the next one is fakedisk_calls()) fail. FULL lasts until lifted by
 * fakedisk_room(). */
void fakedisk_fail_at(struct fakedisk *d, uint64_t call, enum fakedisk_fault fault);
uint64_t fakedisk_used(const struct fakedisk *d); /* Bytes of all files. */
/* Bytes the disk can hold; more fails with IO_ENOSPC. */
void fakedisk_room(struct fakedisk *d, uint64_t bytes);
bool fakedisk_powered(const struct fakedisk *d);
/* The power is gone: every call fails. Close the log now; then fakedisk_crash() or fakedisk_kill(). */
void fakedisk_power_off(struct fakedisk *d);
/* Start the machine again: jobs not yet run are given back by done() alone; files are what the disk kept. */
void fakedisk_crash(struct fakedisk *d);
/* As fakedisk_crash(), but only the process died: all that was written is there, synced or not. */
void fakedisk_kill(struct fakedisk *d);

/* ---- Looking and tampering ---- */
/* Bytes of a file as written; NULL when there is none. Valid until the next change. */
uint8_t *fakedisk_bytes(struct fakedisk *d, const char *name, size_t *ret_len);
bool fakedisk_exists(struct fakedisk *d, const char *name, size_t *ret_len);
/* A copy of the whole disk, as written and all of it synced. */
struct fakedisk *fakedisk_clone(struct fakedisk *d);
void fakedisk_remove(struct fakedisk *d, const char *name);
/* Calls each(ctx, name) for every file. */
void fakedisk_names(struct fakedisk *d, void (*each)(void *ctx, const char *name), void *ctx);
