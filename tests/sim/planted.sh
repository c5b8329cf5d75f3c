#!/usr/bin/env bash
# planted.sh SIM_PLANTED [SEEDS [NAME...]] - does the simulator find the bugs of plants.txt? Runs each (or those named) with
# seeds from 1 on until one fails, SEEDS at most (200), and prints a table for docs/SIMULATOR.md: the bug, the seed that
# found it, and what was seen. Exits 1 if one was not found that is not listed in missed.txt with the reason.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
sim=$1
seeds=${2:-200}
shift $(($# < 2 ? $# : 2))
wanted=" $* "
failed=0

echo "| bug | what is wrong | found by seed | what was seen |"
echo "| --- | --- | --- | --- |"
while IFS=$'\t' read -r name what; do
    [ "$wanted" = "  " ] || [[ $wanted == *" $name "* ]] || continue
    if out=$(timeout 600 "$sim" --plant "$name" 1 "$seeds" 2>&1); then
        why=$(sed -n "s/^$name  *//p" "$here/missed.txt")
        echo "| \`$name\` | $what | not in $seeds | ${why:-UNEXPLAINED} |"
        [ -n "$why" ] || failed=1
    else
        seed=$(grep -o 'seed [0-9]*' <<<"$out" | tail -1 | cut -d' ' -f2)
        seen=$(grep -h -o -E 'FAILED.*|.*Assertion.*' <<<"$out" | head -1 | sed -E 's/^FAILED[^:]*: //; s/.*Assertion/Assertion/; s/[|]/\\|/g' |
            cut -c1-110)
        echo "| \`$name\` | $what | ${seed:-?} | ${seen:-a crash} |"
    fi
done < <("$here/plant.py" --names "$here/plants.txt")
exit $failed
