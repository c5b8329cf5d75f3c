/* families.h - the families' functions, one an opcode, for the table in family.c. What each answers stands in
 * command.h. Each may rely on the counts of args and nums that its row of the table demands. */
#pragma once
#include "store/family.h"

/* strings.c */
void strings_set(struct family *f, const struct command *c);
void strings_mset(struct family *f, const struct command *c);
void strings_append(struct family *f, const struct command *c);
void strings_setrange(struct family *f, const struct command *c);
void strings_getdel(struct family *f, const struct command *c);
void strings_getex(struct family *f, const struct command *c);
void strings_delif(struct family *f, const struct command *c);
void strings_get(struct family *f, const struct command *c);
void strings_mget(struct family *f, const struct command *c);
void strings_strlen(struct family *f, const struct command *c);
void strings_getrange(struct family *f, const struct command *c);
void strings_lcs(struct family *f, const struct command *c);

/* counters.c */
void counters_incrby(struct family *f, const struct command *c);
void counters_incrbyfloat(struct family *f, const struct command *c);
void counters_vincr(struct family *f, const struct command *c);

/* keys.c */
void keys_del(struct family *f, const struct command *c);
void keys_rename(struct family *f, const struct command *c);
void keys_copy(struct family *f, const struct command *c);
void keys_flushall(struct family *f, const struct command *c);
void keys_exists(struct family *f, const struct command *c);
void keys_type(struct family *f, const struct command *c);
void keys_ttl(struct family *f, const struct command *c);
void keys_keys(struct family *f, const struct command *c);
void keys_scan(struct family *f, const struct command *c);
void keys_randomkey(struct family *f, const struct command *c);
void keys_dbsize(struct family *f, const struct command *c);
void keys_object(struct family *f, const struct command *c);
void keys_memory_usage(struct family *f, const struct command *c);
void keys_sort(struct family *f, const struct command *c);

/* lists.c */
void lists_push(struct family *f, const struct command *c);
void lists_pop(struct family *f, const struct command *c);
void lists_set(struct family *f, const struct command *c);
void lists_rem(struct family *f, const struct command *c);
void lists_trim(struct family *f, const struct command *c);
void lists_insert(struct family *f, const struct command *c);
void lists_move(struct family *f, const struct command *c);
void lists_mpop(struct family *f, const struct command *c);
void lists_len(struct family *f, const struct command *c);
void lists_range(struct family *f, const struct command *c);
void lists_index(struct family *f, const struct command *c);
void lists_pos(struct family *f, const struct command *c);
void lists_bpop(struct family *f, const struct command *c);
void lists_bmove(struct family *f, const struct command *c);

/* wait.c */
void wait_take(struct family *f, const struct command *c);
void wait_leave(struct family *f, const struct command *c);
void wait_due(struct family *f, const struct command *c);

/* hashes.c */
void hashes_set(struct family *f, const struct command *c);
void hashes_del(struct family *f, const struct command *c);
void hashes_incrby(struct family *f, const struct command *c);
void hashes_incrbyfloat(struct family *f, const struct command *c);
void hashes_get(struct family *f, const struct command *c);
void hashes_mget(struct family *f, const struct command *c);
void hashes_getall(struct family *f, const struct command *c);
void hashes_exists(struct family *f, const struct command *c);
void hashes_len(struct family *f, const struct command *c);
void hashes_strlen(struct family *f, const struct command *c);
void hashes_scan(struct family *f, const struct command *c);
void hashes_randfield(struct family *f, const struct command *c);

/* parts.c */
void parts_trash_due(struct family *f, const struct command *c);

/* limit.c, breaker.c */
void limit_take(struct family *f, const struct command *c);
void breaker_run(struct family *f, const struct command *c);

/* typed.c */
void typed_vset(struct family *f, const struct command *c);
void typed_cas(struct family *f, const struct command *c);
void typed_vappend(struct family *f, const struct command *c);
void typed_vget(struct family *f, const struct command *c);
void typed_vmget(struct family *f, const struct command *c);

/* await.c */
void await_look(struct family *f, const struct command *c);

/* notify.c: what is told to those who listen. ends: the key has an expiry. */
void notify_put(struct family *f, struct bytes key, bool ends);
void notify_expiry(struct family *f, struct bytes key, bool ends);
void notify_delete(struct family *f, struct bytes key, bool expired);
void notify_cleared(struct family *f);
void notify_publish(struct family *f, const struct command *c);

/* script.c */
void script_eval(struct family *f, const struct command *c);
void script_load_command(struct family *f, const struct command *c);
void script_flush(struct family *f, const struct command *c);
void script_exists(struct family *f, const struct command *c);

/* exec.c */
void exec_run(struct family *f, const struct command *c);
void exec_versions(struct family *f, const struct command *c);

/* expiry.c */
void expiry_expire(struct family *f, const struct command *c);
void expiry_persist(struct family *f, const struct command *c);
void expiry_expired(struct family *f, const struct command *c);
void expiry_tick(struct family *f, const struct command *c);

/* session.c */
void session_open(struct family *f, const struct command *c);
void session_keepalive(struct family *f, const struct command *c);
void session_close(struct family *f, const struct command *c);
void session_expired(struct family *f, const struct command *c);
void session_once(struct family *f, const struct command *c);
void session_info(struct family *f, const struct command *c);
void session_list(struct family *f, const struct command *c);

/* lock.c */
void lock_acquire(struct family *f, const struct command *c);
void lock_release(struct family *f, const struct command *c);
void lock_break(struct family *f, const struct command *c);
void lock_leave(struct family *f, const struct command *c);
void lock_guard(struct family *f, const struct command *c);
void lock_due(struct family *f, const struct command *c);
void lock_info(struct family *f, const struct command *c);
void lock_list(struct family *f, const struct command *c);
