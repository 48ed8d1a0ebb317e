#!/usr/bin/env bash
# The whole program against an earlier one: CPU a record, records per second where durable writes are slow, system calls, and
# memory. Both deliver the same files from a directory to a file sink with `run --once`, in turn, and the medians are compared.
#
#   tests/bench/path.sh EARLIER_BINARY [ROUNDS] [MIB]
#
# EARLIER_BINARY is a release build of before; ROUNDS are 5 and MIB 200 when not told. Needs python3; a C compiler for the slow
# durable writes, and strace for the system calls: without one of them its figures are left out. Source in /dev/shm when there
# is room. Say the machine's load with each figure.
set -euo pipefail
cd "$(dirname "$0")/../.."

earlier=${1:?the binary to compare with}
rounds=${2:-5}
mib=${3:-200}

cargo build --locked --release
binary=${CARGO_TARGET_DIR:-target}/release/auditferry
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

python3 - "$earlier" "$binary" "$work" "$source" "$rounds" "$mib" <<'PYTHON'
import os, re, resource, shutil, statistics, subprocess, sys, time

earlier, now, work, source, rounds, mib = *sys.argv[1:5], int(sys.argv[5]), int(sys.argv[6])
programs = {'before': earlier, 'now': now}


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


print(f'load {os.getloadavg()[0]:.1f}, {os.cpu_count()} processors, {rounds} rounds')
one = f'{source}/one'
records = write(f'{one}/workspaceId=1/date=2026-01-01/auditlogs_1.json', mib << 20)
compare(f'CPU a record, one object of {mib} MiB', one, records, lambda run: run.cpu / records * 1e6, 'us a record')
compare('records per second', one, records, lambda run: records / run.wall, 'a second')
if os.path.exists(f'{work}/slow.so'):
    slow = {'LD_PRELOAD': f'{work}/slow.so', 'FSYNC_US': '3000'}
    compare('the same, 3 ms a durable write', one, records, lambda run: records / run.wall, 'a second', **slow)
compare('most resident', one, records, lambda run: run.resident / 1e6, 'MB')
if shutil.which('strace'):
    each = {name: calls(program, one) for name, program in programs.items()}
    for at, title in enumerate(('durable writes', 'futex calls', 'writes to the store')):
        print(f'{title:44} before {each["before"][at]:12,}  now {each["now"][at]:12,}')
else:
    print('no strace: system calls are not counted')
ten = f'{source}/ten'
records = sum(write(f'{ten}/workspaceId=1/date=2026-01-{n:02}/auditlogs_1.json', 20 << 20) for n in range(1, 11))
compare('most resident, ten objects of 20 MiB at once', ten, records, lambda run: run.resident / 1e6, 'MB')
PYTHON
