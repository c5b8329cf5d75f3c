#!/usr/bin/env bash
# campaign.sh [MINUTES] [NAME...] - the cluster tests again and again with new seeds, until the time is up or one fails.
# Prints a failing run's output and its seed; exit code 1 then. HOLDFAST_BUILD as in run.py.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
minutes=${1:-60}
shift || true
end=$((SECONDS + minutes * 60))
log=$(mktemp)
trap 'rm -f "$log"' EXIT
rounds=0
while [ $SECONDS -lt $end ]; do
    export HOLDFAST_SEED=$((RANDOM * 32768 + RANDOM + 1))
    if ! PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 "$here/run.py" "$@" >"$log" 2>&1; then
        cat "$log"
        echo "campaign: failed after $rounds good rounds; again with HOLDFAST_SEED=$HOLDFAST_SEED"
        exit 1
    fi
    rounds=$((rounds + 1))
    echo "campaign: round $rounds, seed $HOLDFAST_SEED: $(tail -n 1 "$log")"
done
