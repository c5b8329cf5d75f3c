/* info.h - INFO: what a node tells of itself, as sections of "key:value" lines.
 *
 * Sections: server holdfast clients memory persistence stats replication cpu commandstats errorstats cluster keyspace.
 * "default" (and no argument) is all but commandstats; "all" and "everything" are all.
 *
 * The section "# Holdfast" is read by the command line and by client libraries; its names are stable:
 *
 *   holdfast_version     cluster_id (hex)   node_id   start (this start's number)
 *   role                 leader, follower or candidate      leader_id (0: none known)
 *   leader_client_address   host:port of the leader for clients, "" when not known
 *   ready                1: this leader has applied an entry of its own term (followers: 0)
 *   term commit_index applied_index last_index first_index durable_index checkpoint_index
 *   apply_lag            committed entries not applied yet
 *   revision clock_ms state_hash (16 hex digits)
 *   keys keys_with_ttl cache_bytes dirty_bytes file_bytes log_bytes disk_reserve (1: there is)
 *   syncs sync_us_median batches_proposed batches_forwarded batches_resent batches_duplicate read_rounds
 *   snapshots_sent snapshots_installed elections writes_waiting reads_waiting
 *   members              how many; then for each, in the order of ids:
 *   member_ID            address=,client=,voter=,linked=,match=,last_heard_ms=   (last_heard_ms -1: never) */
#pragma once
#include "node/resp/resp.h"

#define INFO_REDIS_VERSION "7.2.0" /* What clients may take this server for. */

struct server;

/* The sections named by args (n may be 0) into text. Unknown names give nothing. */
void info_write(struct server *s, const struct resp_arg *args, size_t n, struct resp_buf *text);
/* This process's resident memory, 0 when unknown. */
size_t info_resident_bytes(void);
