#!/bin/sh
# run.sh TARGET|all SECONDS   fuzz one target, or each after another, for so long
# run.sh --keep TARGET|all    take what was found and is short into the corpus
#
# HOLDFAST_BUILD is a build with -DHOLDFAST_FUZZ=ON (default: build-fuzz). What is found grows in its folder fuzz-found/,
# inputs that crash are in fuzz-found/TARGET.crashes/: fix it, give the input a name and put it into corpus/TARGET/,
# where ctest replays it.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
build=${HOLDFAST_BUILD:-$here/../../build-fuzz}
keep_bytes_max=600 # of one input: the corpus is to stay small
keep_files_max=60

usage() {
    sed -n '2,7s/^# \{0,1\}//p' "$0"
    exit 2
}

targets() {
    if [ "$1" = all ]; then
        for source in "$here"/fuzz_*.c; do
            basename "$source" .c | sed 's/^fuzz_//'
        done
    elif [ -f "$here/fuzz_$1.c" ]; then
        echo "$1"
    else
        usage
    fi
}

found=$build/fuzz-found

run() {
    mkdir -p "$found/$1" "$found/$1.crashes" "$here/corpus/$1"
    log=$found/$1.log
    rc=0
    "$build/tests/fuzz/fuzz_$1" -max_total_time="$2" -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 \
        -artifact_prefix="$found/$1.crashes/" "$found/$1" "$here/corpus/$1" >"$log" 2>&1 || rc=$?
    if [ "$rc" -eq 0 ]; then
        echo "$1: $(tail -n 20 "$log" | grep '^Done') without a crash, $(grep -o 'cov: [0-9]*' "$log" | tail -n 1)"
    else
        echo "$1: CRASH, see $log"
        failed=1
    fi
}

keep() {
    kept=$found/$1.kept
    rm -rf "$kept"
    mkdir -p "$kept" "$here/corpus/$1"
    "$build/tests/fuzz/fuzz_$1" -merge=1 -max_len=$keep_bytes_max "$kept" "$here/corpus/$1" "$found/$1" >"$found/$1.log" 2>&1
    step=$(($(ls "$kept" | wc -l) / keep_files_max + 1)) # Small ones and large ones alike.
    ls -S "$kept" | awk "NR % $step == 0" | while read -r name; do
        cp -n "$kept/$name" "$here/corpus/$1/"
    done
    echo "$1: $(ls "$here/corpus/$1" | wc -l) inputs, $(cat "$here/corpus/$1"/* | wc -c) bytes"
}

[ $# -eq 2 ] || usage
failed=0
if [ "$1" = --keep ]; then
    for target in $(targets "$2"); do keep "$target"; done
else
    for target in $(targets "$1"); do run "$target" "$2"; done
fi
exit $failed
