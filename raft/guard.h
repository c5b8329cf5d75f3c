/* guard.h - what libraft 0.22.1 gets wrong, and how each is kept from hurting us: one function for each fault.
 * The package is built without assertions, so a broken precondition corrupts silently: these stand in front of every
 * event that comes from outside. Pure functions over the core's public struct. */
#pragma once
#include <raft.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The loaded library hands back the very entries it was given (0.22.1 does; later ones copy, under the same soname, and
 * our accounting of memory would be wrong). 0, or -1. Takes microseconds; called once at start. */
int guard_library(void);

/* G1. An AppendEntries or InstallSnapshot of the leader's own term would make the core overwrite its leader state as if
 * it were a follower (an out-of-bounds heap write was measured). True: drop it and tell the operator, somebody uses our
 * id. */
bool guard_second_leader(const struct raft *r, const struct raft_message *m);

/* G2. The core takes a configuration change for the index of the first entry of its message, wherever it stands in it.
 * Returns where the piece that starts at `from` must end, so that each change comes first in its own. */
size_t guard_change_split(const struct raft_entry *entries, size_t n, size_t from);

/* G3. A refused pre-vote echoes the candidate's term; two of three voters can then refuse each other for ever. Puts the
 * true term into an outgoing refusal. */
void guard_prevote_refusal(const struct raft *r, struct raft_message *m);

/* G4. A vote result that reaches a node that is no candidate is read into another member of a union. True: drop it. */
bool guard_stray_vote(const struct raft *r, const struct raft_message *m);

/* G5. A follower rejects entries that it had acknowledged: it lost its disk. The core would stop replicating to it
 * without a word, and its votes are worthless. True: drop and tell the operator; it must be removed and join under a
 * new id. */
bool guard_lost_log(const struct raft *r, const struct raft_message *m);

/* G7. A message from a server that is not in our configuration. True: drop it, unless our configuration is empty (we
 * are joining, and have yet to learn who leads). */
bool guard_stranger(const struct raft *r, const struct raft_message *m);

/* G8. Any server may vote, says Raft; the core refuses unless it believes itself a voter, which can block every
 * election while a promotion is on its way. Makes us a voter for one step; undo with guard_voter_end(). */
struct raft_server *guard_voter_begin(struct raft *r, const struct raft_message *m, int *ret_role);
void guard_voter_end(struct raft_server *self, int role);

/* G9. PERSISTED_ENTRIES that would move last_stored back, name an entry that is not there, or arrive while a snapshot
 * is being installed. True: drop it. */
bool guard_stale_persist(const struct raft *r, uint64_t index);

/* G10. raft_timeout() can stay in the past for good; a timer armed at it would spin. Returns when to arm. */
uint64_t guard_timeout(const struct raft *r, uint64_t now_ms);

/* G11. Entries that begin before our snapshot, at an index whose term the core has forgotten, are refused by it; the
 * leader, which counts us at least that far, takes the refusal for an old one and never sends again. It comes to that
 * when our state was ahead of our log, which then began anew behind it, or when we cut our log before the leader heard
 * how far we are. What a snapshot covers is committed, hence the same at any leader: makes the message begin there.
 * Returns how many of its entries go; the caller drops those. */
size_t guard_behind_snapshot(const struct raft *r, struct raft_append_entries *a);

/* G12. A follower takes the smaller of the leader's commit index and the message's last entry for its own commit index,
 * even when that lies behind what it has committed already: it would go back. Makes the message say no more than that.
 */
void guard_commit(const struct raft *r, struct raft_append_entries *a);
