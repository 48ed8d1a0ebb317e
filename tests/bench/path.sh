#!/usr/bin/env bash
# The whole program against an earlier one: CPU a record, records per second where durable writes are slow, system calls,
# memory, and what an announcement costs of an object that is unchanged. Both do the same work in turn, and the medians are
# compared.
#
#   tests/bench/path.sh EARLIER_BINARY [ROUNDS] [MIB] [SCENE...]
#
# EARLIER_BINARY is a release build of before; ROUNDS are 5 and MIB 200 when not told. Scenes, all when none is told:
#
#   one        one object of so many MiB: CPU a record, records per second, the most resident; with slow durable writes
#   calls      durable writes, futex calls and writes to the checkpoint store of that
#   ten        the most resident for ten objects of 20 MiB at once
#   large      the most resident for one object of 1 GB, and its CPU a record
#   backlog    the most resident with 5,000 and with 50,000 objects in the backlog of a sink that fails
#   unchanged  CPU an announcement of an object in S3 that is unchanged, answered with 304
#
# NOW names a release build to measure; without it one is built. Needs python3; a C compiler for the slow durable writes, and
# strace for the system calls: without one of them its figures are left out. Files in /dev/shm when there is room: 1 GB for
# `large`. What is delivered of that, 2.4 GB, lies in TMPDIR. Say the machine's load with each figure.
set -euo pipefail
cd "$(dirname "$0")/../.."

earlier=${1:?the binary to compare with}
rounds=${2:-5}
mib=${3:-200}
scenes=("${@:4}")

[[ -n ${NOW:-} ]] || cargo build --locked --release
binary=${NOW:-${CARGO_TARGET_DIR:-target}/release/auditferry}
work=$(mktemp -d)
source=$(mktemp -d -p /dev/shm 2>/dev/null || mktemp -d)
trap 'rm -rf "$work" "$source"' EXIT

# Makes each durable write slower by FSYNC_US microseconds.
cat >"$work/slow.c" <<'C'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>
static void wait_a_little(void) { const char *us = getenv("FSYNC_US"); if (us) usleep(atoi(us)); }
int fsync(int fd) { int (*next)(int) = dlsym(RTLD_NEXT, "fsync"); wait_a_little(); return next(fd); }
int fdatasync(int fd) { int (*next)(int) = dlsym(RTLD_NEXT, "fdatasync"); wait_a_little(); return next(fd); }
C
cc -shared -fPIC -o "$work/slow.so" "$work/slow.c" -ldl 2>/dev/null || echo 'no C compiler: slow durable writes are not measured'

python3 - "$earlier" "$binary" "$work" "$source" "$rounds" "$mib" "${scenes[@]}" <<'PYTHON'
import hashlib, http.server, json, os, re, shutil, signal, statistics, subprocess, sys, threading, time

earlier, now, work, source, rounds, mib = *sys.argv[1:5], int(sys.argv[5]), int(sys.argv[6])
programs = {'before': earlier, 'now': now}
wanted = sys.argv[7:] or ['one', 'calls', 'ten', 'large', 'backlog', 'unchanged']


def write(path, size):
    """Databricks lines of about a KiB, so many bytes of them; returns how many."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    lines = written = 0
    with open(path, 'w') as out:
        while written < size:
            written += out.write(
                '{"version":"2.0","auditLevel":"WORKSPACE_LEVEL","timestamp":%d,"orgId":"1234567890123456","shardName":"prod",'
                '"accountId":"23e22ba4-87b9-4cc2-9770-d10b894bxx","sourceIPAddress":"10.20.%d.%d","userAgent":"Apache-HttpClient/4.5.13 '
                '(Java/11.0.20) Databricks-Service/driver DBHttpClient/v2RawClient","sessionId":null,"userIdentity":{"email":'
                '"user%d@example.com","subjectName":null},"principal":{"resourceName":"accounts/1/users/%d","uniqueName":"u","displayName":null},'
                '"serviceName":"unityCatalog","actionName":"getTable","requestId":"%032x","requestParams":{"full_name_arg":'
                '"main.sales_%d.orders","include_browse":"true","metastore_id":"2f3c8f0e-1111-4222-8333-944445555666","workspace_id":'
                '"1234567890123456"},"response":{"statusCode":200,"errorMessage":null,"result":null},"MAX_LOG_MESSAGE_LENGTH":16384,'
                '"identityMetadata":{"runBy":"user%d@example.com","runAs":"user%d@example.com"}}\n'
                % (1767225600000 + lines, lines % 256, lines % 199, lines % 977, lines % 977, lines, lines % 53, lines % 977, lines % 977))
            lines += 1
    return lines


class Run:
    """One run over a source from nothing: CPU and wall seconds, the most that was resident, and what it wrote."""

    def __init__(self, program, folder, prefix=(), **environment):
        state = f'{work}/run'
        shutil.rmtree(state, ignore_errors=True)
        os.makedirs(state)
        with open(f'{state}/auditferry.toml', 'w') as config:
            config.write(f'state_dir = "{state}/state"\n[feed.large]\nfamily = "databricks"\ndirectory = "{folder}"\nsinks = ["out"]\n'
                         f'[sink.out]\ntype = "file"\npath = "{state}/out.ndjson"\n')
        begun = time.monotonic()
        child = subprocess.Popen([*prefix, program, 'run', '--once', '--config', f'{state}/auditferry.toml'],
                                 stderr=subprocess.DEVNULL, env={**os.environ, **environment})
        _, status, used = os.wait4(child.pid, 0)
        self.wall = time.monotonic() - begun
        if status != 0:
            sys.exit(f'{program} ended with {status}')
        self.cpu, self.resident = used.ru_utime + used.ru_stime, used.ru_maxrss * 1024
        with open(f'{state}/out.ndjson', 'rb') as out:
            self.events = sum(1 for _ in out)


def compare(title, folder, records, of, unit, **environment):
    """Prints the medians of a figure for both programs, which take turns, and their ratio."""
    figures = {name: [] for name in programs}
    for _ in range(rounds):
        for name, program in programs.items():
            run = Run(program, folder, **environment)
            if run.events != records:
                sys.exit(f'{name}: {run.events} events of {records} records')
            figures[name].append(of(run))
    before, after = (statistics.median(figures[name]) for name in programs)
    print(f'{title:44} before {before:12,.1f}  now {after:12,.1f} {unit:22} ratio {after / before:.2f}', flush=True)


def calls(program, folder):
    """Durable writes, futex calls, and writes to the checkpoint store, of one run."""
    trace = f'{work}/trace'
    Run(program, folder, prefix=('strace', '-f', '-qq', '-y', '-o', trace, '-e', 'trace=fsync,fdatasync,futex,pwrite64'))
    with open(trace, errors='replace') as lines:
        text = lines.read()
    count = lambda pattern: len(re.findall(pattern, text))
    return count(r'(?:fsync|fdatasync)\(\d'), count(r'futex\('), count(r'pwrite64\(\d+<[^>]*checkpoints\.sqlite')


class Aws(http.server.BaseHTTPRequestHandler):
    """One queue, and one bucket whose objects are ten lines and never change: as much of SQS and S3 as is asked for."""

    protocol_version = 'HTTP/1.1'
    content = b''.join(b'{"version":"2.0","timestamp":1767225600000,"serviceName":"notebook","actionName":"runCommand","requestId":"r-%d"}\n'
                       % line for line in range(10))
    etag = hashlib.md5(content).hexdigest()
    messages, counts = [], {}

    def log_message(self, *_):
        pass

    def reply(self, status, body, **headers):
        self.counts[status] = self.counts.get(status, 0) + 1
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace('_', '-'), value)
        if status != 304:
            self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.headers.get('If-None-Match', '').strip('"') == self.etag:
            return self.reply(304, b'', ETag=f'"{self.etag}"')
        self.reply(200, self.content, ETag=f'"{self.etag}"', Last_Modified='Thu, 01 Jan 2026 00:00:00 GMT')

    def do_POST(self):
        action = self.headers['X-Amz-Target'].split('.')[1]
        asked = json.loads(self.rfile.read(int(self.headers['Content-Length'])))
        answer = {}
        if action == 'ReceiveMessage':
            some = [self.messages.pop() for _ in range(min(len(self.messages), asked.get('MaxNumberOfMessages', 1)))]
            answer = {'Messages': [{'MessageId': handle, 'ReceiptHandle': handle, 'Body': body, 'MD5OfBody': hashlib.md5(body.encode()).hexdigest(),
                                    'Attributes': {'ApproximateReceiveCount': '1', 'SentTimestamp': '1767225600000'}} for handle, body in some]}
        elif action == 'GetQueueAttributes':
            answer = {'Attributes': {'VisibilityTimeout': '60', 'ApproximateNumberOfMessages': str(len(self.messages))}}
        elif 'Entries' in asked:
            answer = {'Successful': [{'Id': entry['Id']} for entry in asked['Entries']], 'Failed': []}
        self.reply(200, json.dumps(answer).encode(), Content_Type='application/x-amz-json-1.0')

    @classmethod
    def announce(cls, count, etag):
        """One message for each object, which names this entity tag."""
        def body(number):
            written = {'key': f'workspaceId=1/date=2026-01-01/auditlogs_{number}.json', 'size': 1, 'eTag': etag, 'sequencer': f'{number:016X}'}
            return json.dumps({'Records': [{'eventSource': 'aws:s3', 'eventName': 'ObjectCreated:Put', 'awsRegion': 'us-east-1',
                                            's3': {'bucket': {'name': 'logs'}, 'object': written}}]})
        cls.messages.extend((f'{etag}-{number}', body(number)) for number in range(count))


def unchanged(program, port, count):
    """CPU seconds of an announcement of an object that was delivered before, its start apart."""
    state = f'{work}/unchanged'
    shutil.rmtree(state, ignore_errors=True)
    os.makedirs(state)
    with open(f'{state}/auditferry.toml', 'w') as config:
        config.write(f'state_dir = "{state}/state"\n[feed.large]\nfamily = "databricks"\nbucket = "logs"\nregion = "us-east-1"\n'
                     f'endpoint_url = "http://127.0.0.1:{port}"\npath_style = true\nqueue = "events"\nsinks = ["out"]\n'
                     f'[queue.events]\nurl = "http://127.0.0.1:{port}/1/events"\nregion = "us-east-1"\nendpoint_url = "http://127.0.0.1:{port}"\n'
                     f'[sink.out]\ntype = "file"\npath = "{state}/out.ndjson"\n')
    keys = {'AWS_ACCESS_KEY_ID': 'none', 'AWS_SECRET_ACCESS_KEY': 'none', 'AWS_EC2_METADATA_DISABLED': 'true'}

    def once(expected):
        child = subprocess.Popen([program, 'run', '--once', '--config', f'{state}/auditferry.toml'], stderr=subprocess.DEVNULL,
                                 env={**os.environ, **keys})
        Aws.counts.clear()
        _, status, used = os.wait4(child.pid, 0)
        if status != 0 or Aws.counts.get(304, 0) != expected:
            sys.exit(f'{program} ended with {status}: {Aws.counts}')
        return used.ru_utime + used.ru_stime
    Aws.announce(count, Aws.etag)
    once(0)
    start = once(0)
    # Another version was announced, and is gone: the object is asked for.
    Aws.announce(count, '0' * 32)
    return (once(count) - start) / count


def backlog(program, count):
    """The most that is resident while so many objects are in the backlog of a sink that fails."""
    state, folder = f'{work}/backlog', f'{source}/backlog'
    for path in state, folder:
        shutil.rmtree(path, ignore_errors=True)
    os.makedirs(state)
    for number in range(count):
        day = f'{folder}/workspaceId=1/date=2026-01-{number % 28 + 1:02}'
        os.makedirs(day, exist_ok=True)
        with open(f'{day}/auditlogs_{number}.json', 'wb') as small:
            small.write(Aws.content)
    with open(f'{state}/auditferry.toml', 'w') as config:
        config.write(f'state_dir = "{state}/state"\n[admin]\nlisten = "unix:{state}/admin.sock"\n[limits]\nowe_after = "1s"\nsink_patience = "100ms"\n'
                     f'[feed.large]\nfamily = "databricks"\ndirectory = "{folder}"\nsinks = ["out"]\n'
                     f'[sink.out]\ntype = "file"\npath = "{state}/not/there/out.ndjson"\n')
    child = subprocess.Popen([program, 'run', '--config', f'{state}/auditferry.toml'], stderr=subprocess.DEVNULL)
    until = time.monotonic() + 300
    while True:
        time.sleep(0.5)
        told = subprocess.run(['curl', '-s', '--unix-socket', f'{state}/admin.sock', 'http://admin/metrics'], capture_output=True, text=True).stdout
        found = re.search(r'^auditferry_backlog_objects\{sink="out"\} (\d+)', told, re.M)
        if found and int(found[1]) >= count:
            break
        if time.monotonic() > until or child.poll() is not None:
            child.kill()
            sys.exit(f'{program}: {found and found[1]} of {count} objects in the backlog')
    with open(f'/proc/{child.pid}/status') as status:
        resident = int(re.search(r'VmHWM:\s+(\d+)', status.read())[1]) * 1024
    child.send_signal(signal.SIGTERM)
    child.wait()
    return resident


def figures(title, of, unit):
    """Prints the medians of what `of` measures of both programs, which take turns."""
    found = {name: [] for name in programs}
    for _ in range(rounds):
        for name, program in programs.items():
            found[name].append(of(program))
    before, after = (statistics.median(found[name]) for name in programs)
    print(f'{title:44} before {before:12,.1f}  now {after:12,.1f} {unit:22} ratio {after / before:.2f}', flush=True)


print(f'load {os.getloadavg()[0]:.1f}, {os.cpu_count()} processors, {rounds} rounds')
one = f'{source}/one'
if 'one' in wanted or 'calls' in wanted:
    records = write(f'{one}/workspaceId=1/date=2026-01-01/auditlogs_1.json', mib << 20)
if 'one' in wanted:
    compare(f'CPU a record, one object of {mib} MiB', one, records, lambda run: run.cpu / records * 1e6, 'us a record')
    compare('records per second', one, records, lambda run: records / run.wall, 'a second')
    if os.path.exists(f'{work}/slow.so'):
        slow = {'LD_PRELOAD': f'{work}/slow.so', 'FSYNC_US': '3000'}
        compare('the same, 3 ms a durable write', one, records, lambda run: records / run.wall, 'a second', **slow)
    compare('most resident', one, records, lambda run: run.resident / 1e6, 'MB')
if 'calls' in wanted and shutil.which('strace'):
    each = {name: calls(program, one) for name, program in programs.items()}
    for at, title in enumerate(('durable writes', 'futex calls', 'writes to the store')):
        print(f'{title:44} before {each["before"][at]:12,}  now {each["now"][at]:12,}')
elif 'calls' in wanted:
    print('no strace: system calls are not counted')
if 'ten' in wanted:
    ten = f'{source}/ten'
    records = sum(write(f'{ten}/workspaceId=1/date=2026-01-{n:02}/auditlogs_1.json', 20 << 20) for n in range(1, 11))
    compare('most resident, ten objects of 20 MiB at once', ten, records, lambda run: run.resident / 1e6, 'MB')
if 'large' in wanted:
    large = f'{source}/large'
    records = write(f'{large}/workspaceId=1/date=2026-01-01/auditlogs_1.json', 10 ** 9)
    compare('most resident, one object of 1 GB', large, records, lambda run: run.resident / 1e6, 'MB')
    compare('CPU a record of it', large, records, lambda run: run.cpu / records * 1e6, 'us a record')
    shutil.rmtree(large)
if 'backlog' in wanted:
    for count in 5_000, 50_000:
        figures(f'most resident, {count:,} objects in a backlog', lambda program: backlog(program, count) / 1e6, 'MB')
if 'unchanged' in wanted:
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Aws)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    figures('CPU an announcement, unchanged in S3', lambda program: unchanged(program, server.server_port, 2000) * 1e6, 'us an object')
PYTHON
