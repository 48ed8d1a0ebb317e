#!/usr/bin/env bash
# Feeds a receiver that somebody else wrote: Tenzir's HEC endpoint gets the fixtures of every family, and its OCSF schema judges
# the events. Not part of tests/run.sh, since it installs a GiB from PyPI. Its bulk endpoint cannot judge: it answers every request
# with one item without an id, which no sink may take for an acknowledgement.
#
#   tests/tenzir.sh [BINARY]     the debug build when not told
#
# Fails unless the endpoint has every event that a file sink has, once. Prints what the schema does not know.
set -euo pipefail
cd "$(dirname "$0")/.."

binary=$(realpath "${1:-${CARGO_TARGET_DIR:-target}/debug/auditferry}")
tools=${AUDITFERRY_TEST_TOOLS:-$PWD/target/test-tools}/tenzir
if [ ! -x "$tools/bin/tenzir" ]; then
    python3 -m venv "$tools"
    "$tools/bin/pip" install --quiet --disable-pip-version-check tenzir==6.20.0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 - "$binary" "$tools/bin/tenzir" "$work" <<'PYTHON'
import collections, json, os, re, shutil, signal, socket, subprocess, sys, time

binary, tenzir, work = sys.argv[1:]
FIXTURES = {
    'databricks': ['databricks/auditlogs_7.json'], 'lakefs': ['lakefs/pyarrow-plain-snappy.parquet', 'lakefs/server.log'],
    's3_access': ['s3_access/2024-02-12-08-00-00-0A1B2C3D4E5F6789'], 'immuta': ['immuta/mixed.log'],
    'ydb': ['ydb/common.log', 'ydb/stream.log'],
}


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


class Pipeline:
    """A pipeline that listens, and appends what it is sent to a file."""

    def __init__(self, name, operator):
        self.port, self.out = free_port(), f'{work}/{name}.ndjson'
        text = f'{operator.replace("PORT", str(self.port))}\nto_file "{self.out}" {{ write_ndjson }}'
        self.log = open(f'{work}/{name}.log', 'w')
        self.process = subprocess.Popen([tenzir, '--color=never', text], stdout=self.log, stderr=self.log)
        until = time.monotonic() + 60
        while socket.socket().connect_ex(('127.0.0.1', self.port)):
            if self.process.poll() is not None or time.monotonic() > until:
                sys.exit(f'{name} does not listen: {open(self.log.name).read()}')
            time.sleep(0.1)

    def end(self):
        self.process.send_signal(signal.SIGINT)
        self.process.wait(60)
        with open(self.out) as out:
            return [json.loads(line) for line in out]


config = f'state_dir = "{work}/state"\n'
for family, files in FIXTURES.items():
    os.makedirs(f'{work}/{family}')
    for file in files:
        shutil.copy(f'tests/fixtures/{file}', f'{work}/{family}')
    config += (f'[feed.{family}]\nfamily = "{family}"\ndirectory = "{work}/{family}"\nkeys = ["**"]\n'
               'sinks = ["file", "splunk"]\n')
splunk = Pipeline('splunk', 'accept_splunk "127.0.0.1:PORT", hec_token="t"')
config += (f'[sink.file]\ntype = "file"\npath = "{work}/file.ndjson"\n'
           f'[sink.splunk]\ntype = "splunk_hec"\nurl = "http://127.0.0.1:{splunk.port}"\ntoken = "env:TOKEN"\nacknowledge = false\n')
with open(f'{work}/auditferry.toml', 'w') as out:
    out.write(config)
ran = subprocess.run([binary, 'run', '--once', '--config', f'{work}/auditferry.toml'], env={**os.environ, 'TOKEN': 't'},
                     stderr=subprocess.PIPE, text=True)
if ran.returncode not in (0, 65):
    print(ran.stderr[-4000:])
with open(f'{work}/file.ndjson') as lines:
    expected = collections.Counter(json.loads(line)['metadata']['uid'] for line in lines)


def uid(event):
    event = event.get('event', event)
    event = json.loads(event) if isinstance(event, str) else event
    return event['metadata']['uid']


got = collections.Counter(map(uid, splunk.end()))
missing, twice = expected - got, got - expected
print(f'splunk: {sum(got.values())} of {sum(expected.values())} events, {sum(missing.values())} missing, {sum(twice.values())} too many')

# OCSF writes times as milliseconds, and a `_dt` attribute beside them; Tenzir has a type for them, and makes addresses and times
# of texts that look so.
judged = subprocess.run([tenzir, '--color=never', f'from_file "{work}/file.ndjson" {{ read_ndjson raw=true }}\nocsf_cast\nwrite_ndjson'],
                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout
warnings = collections.Counter(re.findall(r'^(?:warning|error): (.*)$', judged, re.M))
print(f'ocsf_cast: {sum(line.startswith("{") for line in judged.splitlines())} of {sum(expected.values())} events')
for warning, count in warnings.most_common():
    print(f'  {count} x {warning}')
sys.exit(ran.returncode or got != expected)
PYTHON
