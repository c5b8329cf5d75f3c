#!/usr/bin/env bash
# campaign.sh [MINUTES] [NAME...] - real nodes under faults until the time is up or a check fails: without names the faults
# that chance picks, alone and two at a time, with all that clients were told checked at the end (campaign.py: it ends with
# a table); with names these cluster tests again and again with new seeds. Prints a failing run's seed; exit code 1 then.
# HOLDFAST_BUILD as in run.py.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PYTHONDONTWRITEBYTECODE=1
minutes=${1:-60}
shift || true
[ $# -gt 0 ] || exec /usr/bin/python3 "$here/campaign.py" --minutes "$minutes"
end=$((SECONDS + minutes * 60))
log=$(mktemp)
trap 'rm -f "$log"' EXIT
rounds=0
while [ $SECONDS -lt $end ]; do
    export HOLDFAST_SEED=$((RANDOM * 32768 + RANDOM + 1))
    if ! /usr/bin/python3 "$here/run.py" "$@" >"$log" 2>&1; then
        cat "$log"
        echo "campaign: failed after $rounds good rounds; again with HOLDFAST_SEED=$HOLDFAST_SEED"
        exit 1
    fi
    rounds=$((rounds + 1))
    echo "campaign: round $rounds, seed $HOLDFAST_SEED: $(tail -n 1 "$log")"
done
