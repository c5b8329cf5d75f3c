#!/usr/bin/env bash
# format.sh - every .c and .h file is as clang-format 14 with the tree's .clang-format would leave it.
# Other versions break lines differently, so with them this says so and passes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

VERSION=14
tool=
for candidate in clang-format-$VERSION clang-format; do
    if "$candidate" --version 2>/dev/null | grep -q "version $VERSION\."; then
        tool=$candidate
        break
    fi
done
if [ -z "$tool" ]; then
    echo "format.sh: skipped: clang-format $VERSION is not here (Debian 12 has it)"
    exit 0
fi
bad=0
while read -r file; do
    "$tool" --dry-run -Werror --style=file "$file" >/dev/null 2>&1 && continue
    echo "$file: not formatted; run: $tool -i $file"
    bad=1
done < <(find store raft node lua tests -type f -name '*.[ch]' | sort)
exit $bad
