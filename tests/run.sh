#!/usr/bin/env bash
# Runs every test. What they need is installed into target/test-tools once; from then on no network is needed.
#
#   tests/run.sh                 all of them
#   tests/run.sh overwrite       those whose name holds "overwrite" (arguments are cargo test's)
#   AUDITFERRY_KILLS=500 tests/run.sh kill       a longer kill test
#   AUDITFERRY_CASES=5000 tests/run.sh damage    more damaged objects
#   AUDITFERRY_SEEDS=20000 tests/run.sh sim      more of the simulator's seeds, from AUDITFERRY_FIRST_SEED on; above 1000
#                                                in a build of its own, at several times the speed, and nothing else
#   AUDITFERRY_SEED=N tests/run.sh sim           one of them, with its trace; AUDITFERRY_SHRINK=1 shortens it
#   AUDITFERRY_SEED=N tests/run.sh kill          one with the chances of an earlier one, which printed its seed
#
# The tests start the emulators themselves, on free loopback ports, and end them.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '== %s\n' "$*"; }

if [ "${AUDITFERRY_SEEDS:-0}" -gt 1000 ]; then
    say "the simulator: $AUDITFERRY_SEEDS seeds"
    exec cargo test --locked --profile sim --test sim -- --nocapture every_seed
fi

# Installs a Debian package, or says that it is missing.
install_package() {
    local package=$1
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        say "missing: install what Debian calls $package" >&2
        exit 69
    fi
    say "installing $package"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" >/dev/null
}

tools=${AUDITFERRY_TEST_TOOLS:-$PWD/target/test-tools}
wanted=tests/it/support/requirements.txt
if ! cmp -s "$wanted" "$tools/installed.txt"; then
    say "installing the emulators into $tools"
    python3 -c 'import ensurepip, venv' 2>/dev/null || install_package python3-venv
    rm -rf "$tools/venv"
    mkdir -p "$tools"
    python3 -m venv "$tools/venv"
    "$tools/venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$wanted"
    cp "$wanted" "$tools/installed.txt"
fi
export AUDITFERRY_TEST_TOOLS=$tools

command -v systemd-analyze >/dev/null || install_package systemd
# It counts the instructions of the test of linear work.
command -v valgrind >/dev/null || install_package valgrind
# It has a sync of the disk fail.
command -v strace >/dev/null || install_package strace
# It runs deploy/notifications.jq.
command -v jq >/dev/null || install_package jq

say "building the tests"
cargo test --locked --no-run

# The daemons under test commit all the time, and would wait with each commit for a disk that is still writing back what
# the compiler left behind.
sync

say "cargo test"
cargo test --locked "$@"
say "every test passed"
