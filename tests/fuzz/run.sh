#!/usr/bin/env bash
# Runs the fuzz targets, one after the other: what decodes records, opens envelopes, masks secrets, inflates objects, and understands
# notifications.
#
#   tests/fuzz/run.sh              each for 60 seconds
#   tests/fuzz/run.sh 600 ydb      one, for ten minutes
#
# Each begins with the fixtures of its kind and what lies in tests/fuzz/seeds (hostile and odd input that was met), and goes on
# with what earlier runs found, below target/fuzz. A crash ends the
# script with an error; the input that makes it lies in target/fuzz/artifacts. Needs a nightly toolchain for the sanitizer;
# cargo-fuzz is installed into target/fuzz when it is not there.
set -euo pipefail
cd "$(dirname "$0")/../.."

seconds=${1:-60}
shift || true
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
    targets=(databricks lakefs s3_access immuta ydb envelope mask notification inflate)
fi
say() { printf '== %s\n' "$*"; }

work=$PWD/target/fuzz
export PATH=$work/tools/bin:$PATH
if ! cargo fuzz --version >/dev/null 2>&1; then
    say "installing cargo-fuzz into $work/tools"
    cargo install --locked --quiet --root "$work/tools" cargo-fuzz
fi

# The folders a target begins with.
seeds() {
    case $1 in
        notification) echo tests/fixtures/notifications tests/fuzz/seeds/notification ;;
        inflate) echo tests/fixtures/lakefs tests/fuzz/seeds/inflate ;;
        envelope) echo tests/fuzz/seeds/{databricks,immuta,lakefs,s3_access,ydb} ;;
        mask) echo tests/fixtures/secrets tests/fuzz/seeds/{databricks,immuta,lakefs,s3_access,ydb} ;;
        *) echo "tests/fixtures/$1" "tests/fuzz/seeds/$1" ;;
    esac
}

for target in "${targets[@]}"; do
    corpus=$work/corpus/$target
    mkdir -p "$corpus" "$work/artifacts/$target"
    if [ "$target" = inflate ]; then
        for file in tests/fixtures/databricks/* tests/fixtures/ydb/*; do
            gzip -c "$file" >"$corpus/$(basename "$file").gz"
        done
    fi
    say "$target: $seconds s"
    cargo +nightly fuzz run --fuzz-dir tests/fuzz --target-dir "$work/build" "$target" "$corpus" $(seeds "$target") -- \
        -max_total_time="$seconds" -max_len=8192 -rss_limit_mb=2048 -timeout=20 -print_final_stats=1 \
        -artifact_prefix="$work/artifacts/$target/"
done
say "no target crashed"
