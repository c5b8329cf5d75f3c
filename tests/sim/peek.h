/* peek.h - the inside of a replica that the checks look at after every event, where replica_status() is too slow. */
#pragma once
#include "raft/log.h"
#include <stdbool.h>

struct replica;
struct log *peek_log(const struct replica *r);
bool peek_leads(const struct replica *r);
uint64_t peek_term(const struct replica *r);
uint64_t peek_commit(const struct replica *r);
uint64_t peek_applied(const struct replica *r);
