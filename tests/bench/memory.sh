#!/usr/bin/env bash
# How much memory one large object takes: writes an object of so many MiB (2048 when not told), delivers it in one run, and
# prints the most the process had resident, and its time.
#
#   tests/bench/memory.sh [MIB] [BYTES_RESIDENT_MAX]
#
# Exits 1 when it had more resident than allowed (150 MB when not told), or did not deliver every record.
set -euo pipefail
cd "$(dirname "$0")/../.."

mib=${1:-2048}
resident_max=${2:-150000000}

cargo build --locked --release
binary=${CARGO_TARGET_DIR:-target}/release/auditferry
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 - "$binary" "$work" "$mib" "$resident_max" <<'PYTHON'
import os, resource, subprocess, sys, time

binary, work, mib, resident_max = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
folder = f'{work}/source/workspaceId=1/date=2026-01-01'
os.makedirs(folder)
filling = 'x' * 700
lines = size = 0
with open(f'{folder}/large.json', 'w') as large:
    while size < mib << 20:
        size += large.write('{"version":"2.0","auditLevel":"WORKSPACE_LEVEL","timestamp":%d,"workspaceId":"1","sourceIPAddress":"10.20.30.40",'
                            '"userIdentity":{"email":"bob@example.com"},"serviceName":"notebook","actionName":"runCommand","requestId":"r-%d",'
                            '"requestParams":{"commandText":"%s"},"response":{"statusCode":200}}\n' % (1767225600000 + lines, lines, filling))
        lines += 1
with open(f'{work}/auditferry.toml', 'w') as config:
    config.write(f'state_dir = "{work}/state"\n[feed.large]\nfamily = "databricks"\ndirectory = "{work}/source"\nsinks = ["out"]\n'
                 f'[sink.out]\ntype = "file"\npath = "{work}/out.ndjson"\nencoding = "ocsf"\n')
begun = time.monotonic()
subprocess.run([binary, 'run', '--once', '--config', f'{work}/auditferry.toml'], check=True)
seconds = time.monotonic() - begun
used = resource.getrusage(resource.RUSAGE_CHILDREN)
delivered = sum(1 for _ in open(f'{work}/out.ndjson', 'rb'))
resident = used.ru_maxrss * 1024
print(f'{lines} records of {size / lines:.0f} bytes, {mib} MiB: {resident / 1e6:.0f} MB resident, {seconds:.1f} s, '
      f'{used.ru_utime + used.ru_stime:.1f} s of CPU, {delivered} delivered')
sys.exit(0 if delivered == lines and resident <= resident_max else 1)
PYTHON
