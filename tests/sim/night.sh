#!/usr/bin/env bash
# night.sh SIM [SECONDS] - fresh seeds until told to stop (Ctrl-C) or for so long. Failing ones are printed with their replay,
# kept in ./sim-failures.txt, and do not end the night. Exits 1 if there were any. Put them into seeds.txt.
set -euo pipefail
sim=$1
end=$((SECONDS + ${2:-1000000000}))
failures=0
runs=0

trap 'echo; end=0' INT TERM
while [ "$SECONDS" -lt "$end" ]; do
    out=$("$sim" fresh 20 2>&1) || {
        [ "$end" -gt 0 ] || break
        failures=$((failures + 1))
        grep -E 'FAILED|replay' <<<"$out" | tee -a sim-failures.txt
    }
    runs=$((runs + 20))
done
echo "about $runs seeds, $failures failures"
[ "$failures" -eq 0 ]
