#!/usr/bin/env bash
# Puts each old rule back, one after another, and sees that the simulator finds it. Each patch beside this script is a
# fault that was met. The sources must be as they are committed; they are put back whatever happens.
#
#   tests/sim/faults/try.sh               all of them
#   tests/sim/faults/try.sh no-gap        one
set -euo pipefail
cd "$(dirname "$0")/../../.."

git diff --quiet -- src || { echo "src holds changes that are not committed" >&2; exit 1; }
trap 'git checkout --quiet -- src' EXIT
found=0
for patch in tests/sim/faults/${1:-*}.patch; do
    git apply "$patch"
    if log=$(cargo test --locked --test sim 2>&1); then
        echo "$(basename "$patch" .patch): NOT FOUND"
        found=1
    elif grep -q '^error' <<<"$log" && ! grep -q 'test result: FAILED' <<<"$log"; then
        echo "$(basename "$patch" .patch): does not compile"
        found=1
    else
        failed=$(sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' <<<"$log" | tr '\n' ' ')
        seeds=$(grep -o '^seed [0-9]* ' <<<"$log" | sort -u | tr '\n' ' ')
        echo "$(basename "$patch" .patch): found by ${failed}(${seeds})"
    fi
    git checkout --quiet -- src
done
exit $found
