#!/usr/bin/env bash
# Builds what is released, below target/dist:
#
#   auditferry            the program, without symbols and without paths of the machine that built it
#   auditferry.debug      its line numbers and symbols, for a debugger or addr2line
#   auditferry.cdx.json   what is built in (CycloneDX)
#   SHA256SUMS            of all three
#
# Needs the binutils that the compiler needs anyway, and python3.
set -euo pipefail
cd "$(dirname "$0")/.."

dist=target/dist
binary=${CARGO_TARGET_DIR:-target}/release/auditferry
cargo_home=${CARGO_HOME:-$HOME/.cargo}

# Where sources lie stands in messages of panics and in what C's assert says. Of several that fit the last one counts.
export RUSTFLAGS="${RUSTFLAGS:-} --remap-path-prefix=$HOME=/home --remap-path-prefix=$cargo_home=/cargo --remap-path-prefix=$PWD=/auditferry"
export CFLAGS="${CFLAGS:-} -ffile-prefix-map=$HOME=/home -ffile-prefix-map=$cargo_home=/cargo -ffile-prefix-map=$PWD=/auditferry"
export CARGO_PROFILE_RELEASE_DEBUG=line-tables-only CARGO_PROFILE_RELEASE_STRIP=none
cargo build --locked --release --bin auditferry

mkdir -p "$dist"
objcopy --only-keep-debug "$binary" "$dist/auditferry.debug"
chmod a-x "$dist/auditferry.debug"
strip --strip-all -o "$dist/auditferry" "$binary"
(cd "$dist" && objcopy --add-gnu-debuglink=auditferry.debug auditferry)

found=$(grep -acE "$HOME/|$PWD/|$cargo_home/" "$dist/auditferry" || true)
if [ "$found" != 0 ]; then
    echo "the program still holds paths of this machine:" >&2
    grep -aoE "($HOME|$PWD|$cargo_home)/[[:print:]]{1,80}" "$dist/auditferry" | sort | uniq -c | sort -rn | head >&2
    exit 1
fi

python3 deploy/sbom.py >"$dist/auditferry.cdx.json"
(cd "$dist" && sha256sum auditferry auditferry.debug auditferry.cdx.json >SHA256SUMS)
ls -l "$dist"
