#!/usr/bin/env bash
# tidy.sh BUILD_DIR - clang-tidy with the checks of .clang-tidy over every program file that BUILD_DIR compiles
# (it has compile_commands.json). Findings are errors. Versions differ in what they find, so with another than 14
# this says so and passes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
build=${1:?usage: tidy.sh BUILD_DIR}

VERSION=14
tool=
for candidate in clang-tidy-$VERSION clang-tidy; do
    if "$candidate" --version 2>/dev/null | grep -q "version $VERSION\."; then
        tool=$candidate
        break
    fi
done
if [ -z "$tool" ]; then
    echo "tidy.sh: skipped: clang-tidy $VERSION is not here (Debian 12 has it)"
    exit 0
fi
[ -e "$build/compile_commands.json" ] || { echo "tidy.sh: $build/compile_commands.json is missing: run cmake first"; exit 1; }
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if find store raft node lua -type f -name '*.c' -print0 | sort -z |
    xargs -0 -r -n 4 -P "$(nproc)" "$tool" -p "$build" --quiet >"$log" 2>/dev/null; then
    exit 0
fi
grep -E '(warning|error):' "$log" | sed "s|^$PWD/||" | sort -u
exit 1
