/* net.h - the links between nodes: one connection in each direction, first in, first out. Frames are lost only with
 * their connection. A cut swallows what is sent through it, so the connection stalls until it is given up or reset. */
#pragma once
#include "raft/io.h"

void net_begin(void);
void net_end(void);
/* struct io_ops.send of node `from`. */
void net_send(int from, uint64_t peer, uint8_t kind, const void *head, size_t head_len, const struct io_slice *slices,
              size_t n);
/* Node i has started: it and the others dial. */
void net_node_started(int i);
/* Node i's process is gone: its connections end, and the others see that. */
void net_node_ended(int i);

/* No frame passes from i to k any more. */
void net_cut(int i, int k);
bool net_is_cut(int i, int k);
/* Frames take so much longer, in their order, until all heals. */
void net_slow(int i, int k, uint64_t us);
/* All cuts end; connections that were stalled are made anew. */
void net_heal(void);
/* Both connections between i and k break, and are made anew. */
void net_reset(int i, int k, uint64_t in_us);
