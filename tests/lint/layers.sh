#!/usr/bin/env bash
# layers.sh [TREE] - who may include whom: the table of rooms, checked on every #include line and file name.
# Prints each breach as file:line and exits 1. layers.sh --self-test plants breaches in a scratch tree and
# fails unless each of them, and nothing else, is reported.
set -euo pipefail
self=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/layers.sh

# A header of one of our rooms may be included only by the path from the top of the tree; a system header must be in
# this list or belong to a library that the room is allowed.
check_includes() {
    { find store raft node lua -type f -name '*.[ch]' -print0 2>/dev/null || true; } | sort -z | xargs -0 -r awk '
        BEGIN {
            split("assert ctype errno fcntl float fnmatch inttypes limits locale math pthread sched setjmp signal spawn " \
                  "stdalign stdarg stdatomic stdbool stddef stdint stdio stdlib stdnoreturn string strings sys/file sys/ioctl " \
                  "sys/mman sys/prctl sys/random sys/resource sys/stat sys/statvfs sys/time sys/types sys/uio sys/utsname " \
                  "sys/wait sysexits time unistd wchar dirent getopt glob libgen malloc endian byteswap immintrin " \
                  "nmmintrin x86intrin arm_acle cpuid sys/auxv sys/statfs sys/sysinfo sys/syscall pwd grp syslog " \
                  "termios linux/fs linux/falloc sanitizer/lsan_interface", c)
            for (i in c) plain[c[i] ".h"] = 1
            split("sys/socket netinet/in netinet/tcp arpa/inet netdb poll sys/poll sys/select sys/un sys/epoll net/if sys/eventfd", c)
            for (i in c) socket[c[i] ".h"] = 1
        }
        # The room of a path: its own folder, or its parent where the folder has no rule of its own (node/ui).
        function room_of(path) {
            if (path ~ /^node\/(resp|client|ctl)\//) { sub(/^node\//, "", path); return "node/" substr(path, 1, index(path, "/") - 1) }
            return substr(path, 1, index(path, "/") - 1)
        }
        function library_of(h) {
            if (h ~ /^sqlite3(ext)?\.h$/) return "SQLite"
            if (h ~ /^xxh(ash|3)\.h$/) return "xxHash"
            if (h ~ /^(lua5\.4\/)?(lua|lauxlib|lualib|luaconf)\.h$/) return "Lua"
            if (h ~ /^raft\.h$/ || h ~ /^raft\//) return "libraft"
            if (h ~ /^uv\.h$/ || h ~ /^uv\//) return "libuv"
            if (h ~ /^openssl\//) return "OpenSSL"
            if (h ~ /^jansson/) return "jansson"
            if (h ~ /^ini\.h$/) return "inih"
            if (h ~ /^(readline|histedit|editline)/) return "a line editor"
            if (h ~ /^(microhttpd|llhttp|http_parser)/) return "HTTP"
            return ""
        }
        function may_link(room, lib, path) {
            if (room == "store") return lib == "SQLite" || lib == "xxHash" || (lib == "Lua" && path ~ /^store\/script[^\/]*\.[ch]$/) || (lib == "OpenSSL" && path == "store/script_call.c")
            if (room == "raft") return lib == "libraft" || lib == "libuv" || (lib == "OpenSSL" && path ~ /^raft\/link[^\/]*\.c$/)
            if (room == "node") return lib == "libuv" || lib == "OpenSSL" || lib == "HTTP" || lib == "inih"
            if (room == "node/client") return lib == "OpenSSL"
            if (room == "node/ctl") return lib == "jansson" || lib == "a line editor"
            if (room == "lua") return lib == "Lua" || lib == "jansson"
            return 0
        }
        function may_see(room, other) {
            if (room == other) return 1
            if (room == "node") return other == "store" || other == "raft" || other == "node/resp"
            if (room == "node/client") return other == "node/resp"
            if (room == "node/ctl" || room == "lua") return other == "node/client" || other == "node/resp"
            return 0
        }
        function breach(text) { printf "%s:%d: %s\n", FILENAME, FNR, text; bad = 1 }
        FNR == 1 { room = room_of(FILENAME) }
        room == "store" && /CLOCK_REALTIME|gettimeofday *\(|[^a-z_]time *\( *(NULL|0) *\)/ { breach("store/ must not know the time of day") }
        !/^[[:space:]]*#[[:space:]]*include[[:space:]]/ { next }
        match($0, /"[^"]*"/) {
            h = substr($0, RSTART + 1, RLENGTH - 2)
            if (h !~ /^(store|raft|node|lua)\// || h ~ /(^|\/)\.\.?\//)
                breach("\"" h "\": name our headers by their path from the top of the tree, others with <>")
            else if (!may_see(room, room_of(h)))
                breach(room "/ may not include " h)
            next
        }
        match($0, /<[^>]*>/) {
            h = substr($0, RSTART + 1, RLENGTH - 2)
            if (h in plain) next
            if (h in socket) {
                if (room == "store" || room == "node/resp") breach(room "/ must not know sockets: <" h ">")
                next
            }
            lib = library_of(h)
            if (lib == "") breach("<" h "> belongs to no library this project uses; a new one needs a place in the table")
            else if (!may_link(room, lib, FILENAME)) breach(room "/ may not use " lib ": <" h ">")
        }
        END { exit bad }'
}

check_names() {
    local bad=0 path
    for path in raft/uv.h raft/fixture.h raft/raft.h lua/lua.h lua/lauxlib.h lua/lualib.h lua/luaconf.h; do
        [ ! -e "$path" ] || { echo "$path: shadows a system header of the same name" && bad=1; }
    done
    while read -r path; do
        echo "$path: a helper lives in the room that needs it, not in a room for helpers" && bad=1
    done < <(find . -path ./.git -prune -o -path './build*' -prune -o -path ./run -prune -o -type d \
        \( -name util -o -name utils -o -name common -o -name misc -o -name include \) -printf '%P\n')
    return "$bad"
}

check_tree() {
    local bad=0
    cd "$1"
    check_includes || bad=1
    check_names || bad=1
    return "$bad"
}

# plant FILE LINE: a scratch tree with one file of one line.
plant() {
    mkdir -p "$(dirname "$1")"
    printf '%s\n' "$2" >>"$1"
}

# Each line: what is planted, and whether it must be reported.
self_test() {
    local failed=0 want file line said
    scratch=$(mktemp -d) # Not local: the trap outlives this function.
    trap 'rm -rf "$scratch"' EXIT
    while IFS='|' read -r want file line; do
        [ -n "$want" ] || continue
        rm -rf "${scratch:?}/tree" && mkdir "$scratch/tree"
        (cd "$scratch/tree" && plant "$file" "$line")
        said=0
        "$self" "$scratch/tree" >"$scratch/said" || said=1
        if { [ "$want" = breach ] && { [ $said -eq 0 ] || ! grep -qE "^($file|${file%/*}):" "$scratch/said"; }; } ||
            { [ "$want" = fine ] && [ $said -ne 0 ]; }; then
            echo "layers.sh: self-test: expected '$want' for $file: $line"
            failed=1
        fi
    done <<'CASES'
breach|store/a.c|#include "raft/log.h"
breach|store/a.c|#include <uv.h>
breach|store/a.c|#include <lua.h>
breach|store/a.c|#include <sys/socket.h>
breach|store/a.c|uint64_t t = time(NULL);
breach|store/a.c|#  include "node/conn.h"
breach|raft/a.c|#include "store/store.h"
breach|raft/a.c|#include <sqlite3.h>
breach|raft/log.c|#include <openssl/ssl.h>
breach|node/a.c|#include <raft.h>
breach|node/a.c|#include <raft/uv.h>
breach|node/a.c|#include <sqlite3.h>
breach|node/a.c|#include "node/client/client.h"
breach|node/resp/a.c|#include "node/conn.h"
breach|node/resp/a.h|#include <uv.h>
breach|node/client/a.c|#include "store/command.h"
breach|node/ctl/a.c|#include "node/node.h"
breach|node/ctl/a.c|#include <lua.h>
breach|lua/core.c|#include "store/command.h"
breach|node/a.c|#include "conn.h"
breach|node/a.c|#include "node/../store/rows.h"
breach|node/a.c|#include <curl/curl.h>
breach|raft/uv.h|
breach|lua/lua.h|
breach|node/util/a.h|
breach|raft/fixture.h|
breach|include/a.h|
fine|store/script.c|#include <lua.h>
fine|store/script_call.c|#include <openssl/evp.h>
breach|store/script.c|#include <openssl/evp.h>
fine|store/a.c|#include <sqlite3.h>
fine|raft/link_tls.c|#include <openssl/ssl.h>
fine|node/a.c|#include "store/command.h"
fine|node/a.c|#include "node/resp/resp.h"
fine|node/ui/a.c|#include "node/node.h"
fine|node/client/a.c|#include <sys/socket.h>
fine|lua/core.c|#include <lauxlib.h>
fine|lua/core.c|#include "node/client/client.h"
fine|tests/unit/a.c|#include <sqlite3.h>
CASES
    [ $failed -eq 0 ] && echo "layers.sh: every planted breach was caught"
    return $failed
}

case ${1:-} in
--self-test) self_test ;;
*) check_tree "${1:-$(dirname "$self")/../..}" ;;
esac
