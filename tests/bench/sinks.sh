#!/usr/bin/env bash
# Each kind of sink against a receiver that only acknowledges: events per second, CPU an event, and MB/s where each request
# takes 100 ms; beside them what the same bytes cost when they are written to a socket.
#
#   tests/bench/sinks.sh [ROUNDS] [MIB] [KIND...]
#
# ROUNDS are 3 and MIB, of Databricks lines of about a KiB, 100 when not told; all kinds when none is told. The medians are
# printed. NOW names a release build to measure; without it one is built. Needs python3. The receiver is a Python process on
# the same machine, which reads each body whole and, where a reply names events, finds their names: events per second are also
# its, CPU is the daemon's alone. Files in /dev/shm when there is room; what `file` delivers lies in TMPDIR. Say the machine's load.
set -euo pipefail
cd "$(dirname "$0")/../.."

rounds=${1:-3}
mib=${2:-100}
kinds=("${@:3}")

[[ -n ${NOW:-} ]] || cargo build --locked --release
binary=${NOW:-${CARGO_TARGET_DIR:-target}/release/auditferry}
work=$(mktemp -d)
source=$(mktemp -d -p /dev/shm 2>/dev/null || mktemp -d)
trap 'rm -rf "$work" "$source"' EXIT

python3 - "$binary" "$work" "$source" "$rounds" "$mib" "${kinds[@]}" <<'PYTHON'
import gzip, http.server, json, os, resource, shutil, socket, statistics, subprocess, sys, threading, time, zlib

binary, work, source, rounds, mib = *sys.argv[1:4], int(sys.argv[4]), int(sys.argv[5])


class Receiver(http.server.BaseHTTPRequestHandler):
    """Takes everything, after `delay` seconds, and says so as each kind's receiver does."""

    protocol_version = 'HTTP/1.1'
    delay, acks, lock = 0.0, 0, threading.Lock()

    def log_message(self, *_):
        pass

    def body(self):
        if self.headers.get('Transfer-Encoding') != 'chunked':
            return self.rfile.read(int(self.headers.get('Content-Length', 0)))
        body = b''
        while size := int(self.rfile.readline().split(b';')[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def answer(self):
        body, path = self.body(), self.path.split('?')[0]
        time.sleep(self.delay)
        status, said = 200, b'{}'
        if path.endswith('/_bulk'):
            text = zlib.decompress(body, 31) if self.headers.get('Content-Encoding') == 'gzip' else body
            items = b','.join(action[:-2] + b',"status":201}}' for action in text.split(b'\n')[:-1:2])
            said = b'{"errors":false,"items":[' + items + b']}'
        elif path == '/services/collector/ack':
            said = json.dumps({'acks': {str(ack): True for ack in json.loads(body)['acks']}}).encode()
        elif path.startswith('/services/collector'):
            with self.lock:
                Receiver.acks += 1
                said = json.dumps({'text': 'Success', 'code': 0, 'ackId': self.acks}).encode()
        elif path.endswith('/token'):
            said = b'{"access_token":"t","token_type":"Bearer","expires_in":3600}'
        elif path.startswith('/dataCollectionRules'):
            status, said = 204, b''
        elif path.startswith('/api/v2/logs'):
            status = 202
        self.send_response(status)
        if self.command == 'PUT':
            self.send_header('ETag', '"e"')
        self.send_header('Content-Type', 'application/json')
        if status != 204:
            self.send_header('Content-Length', str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    do_POST = do_PUT = answer


def serve():
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port


port = serve()
url = f'http://127.0.0.1:{port}'
KINDS = {
    'file': f'path = "{work}/out.ndjson"',
    'stdout': '',
    'http': f'url = "{url}/ingest"',
    'datadog': f'url = "{url}/api/v2/logs"\napi_key = "env:TOKEN"',
    'elasticsearch': f'url = "{url}"\nindex = "audit"',
    'splunk_hec': f'url = "{url}"\ntoken = "env:TOKEN"',
    's3': f'bucket = "lake"\nprefix = "audit"\nregion = "us-east-1"\nendpoint_url = "{url}"\npath_style = true',
    'sentinel': f'url = "{url}"\ndcr_immutable_id = "dcr-{"0" * 32}"\nstream = "Custom-Audit_CL"\n'
                f'auth = {{ type = "entra", tenant = "t", client_id = "c", client_secret = "env:TOKEN", authority = "{url}" }}',
}
chosen = sys.argv[6:] or list(KINDS)

records = 0
path = f'{source}/logs/workspaceId=1/date=2026-01-01/auditlogs_1.json'
os.makedirs(os.path.dirname(path))
with open(path, 'w') as out:
    while out.tell() < mib << 20:
        out.write(json.dumps({
            'version': '2.0', 'timestamp': 1767225600000 + records, 'serviceName': 'notebook', 'actionName': 'runCommand', 'workspaceId': '1',
            'requestId': f'r-{records}', 'sourceIPAddress': '198.51.100.7', 'userIdentity': {'email': f'user{records % 977}@example.com'},
            'requestParams': {'notebookId': str(records), 'commandText': f'select {records} ' + 'column, ' * 80},
            'response': {'statusCode': 200}}) + '\n')
        records += 1


class Run:
    """One run to the end over one sink, in a state directory of its own: its seconds and its CPU seconds."""

    def __init__(self, kind):
        state = f'{work}/state'
        shutil.rmtree(state, ignore_errors=True)
        if os.path.exists(f'{work}/out.ndjson'):
            os.remove(f'{work}/out.ndjson')
        with open(f'{work}/auditferry.toml', 'w') as config:
            config.write(f'state_dir = "{state}"\n[feed.logs]\nfamily = "databricks"\ndirectory = "{source}/logs"\nsinks = ["out"]\n'
                         f'[sink.out]\ntype = "{kind}"\n{KINDS[kind]}\n')
        before = time.monotonic()
        child = subprocess.Popen([binary, 'run', '--once', '--config', f'{work}/auditferry.toml'], stdout=subprocess.DEVNULL,
                                 stderr=subprocess.PIPE, env={**os.environ, 'TOKEN': 't', 'AWS_ACCESS_KEY_ID': 'none',
                                                              'AWS_SECRET_ACCESS_KEY': 'none'})
        told = child.stderr.read()
        _, status, used = os.wait4(child.pid, 0)
        self.seconds, self.cpu, self.resident = time.monotonic() - before, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024
        if status:
            sys.exit(f'{kind} ended with {status}: {told.decode()[-2000:]}')


def over_a_socket(bytes_of):
    """The seconds and CPU seconds of writing a file's bytes to a socket, a MiB at a time."""
    listener = socket.create_server(('127.0.0.1', 0))

    def drain():
        connection, _ = listener.accept()
        while connection.recv(1 << 20):
            pass
        connection.close()
    reader = threading.Thread(target=drain)
    reader.start()
    program = ('import socket, sys\nwith socket.create_connection(("127.0.0.1", int(sys.argv[2]))) as out, open(sys.argv[1], "rb") as source:\n'
               ' while piece := source.read(1 << 20): out.sendall(piece)')
    before = time.monotonic()
    child = subprocess.Popen([sys.executable, '-S', '-c', program, bytes_of, str(listener.getsockname()[1])])
    _, _, used = os.wait4(child.pid, 0)
    reader.join()
    return time.monotonic() - before, used.ru_utime + used.ru_stime


load = os.getloadavg()[0]
print(f'load {load:.1f}, {os.cpu_count()} processors, {rounds} rounds, {records:,} events of {mib} MiB', flush=True)
Run('file')
encoded = os.path.getsize(f'{work}/out.ndjson')
shutil.copy(f'{work}/out.ndjson', f'{source}/encoded')
wall, cpu = map(statistics.median, zip(*(over_a_socket(f'{source}/encoded') for _ in range(rounds))))
print(f'{"to a socket":14} {records / wall:12,.0f} events/s {cpu / records * 1e6:7.2f} us an event  {encoded / wall / 1e6:8.1f} MB/s', flush=True)
for kind in chosen:
    Receiver.delay = 0.0
    runs = [Run(kind) for _ in range(rounds)]
    wall, cpu, most = (statistics.median(getattr(run, name) for run in runs) for name in ('seconds', 'cpu', 'resident'))
    said = f'{kind:14} {records / wall:12,.0f} events/s {cpu / records * 1e6:7.2f} us an event  {encoded / wall / 1e6:8.1f} MB/s  {most / 1e6:5.1f} MB resident'
    if kind not in ('file', 'stdout'):
        Receiver.delay = 0.1
        said += f'  with 100 ms a request {encoded / statistics.median(Run(kind).seconds for _ in range(rounds)) / 1e6:6.1f} MB/s'
    print(said, flush=True)
PYTHON
