"""Are the words of common languages and servers understood, and is a log followed through rotation?"""

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veilig.core.signal import LogHit, LogKind
from veilig.providers.heal.logs import LINE_SHOWN, LOOK_BYTES, TAIL_BYTES, Log
from veilig.providers.heal.logs_kinds import KINDS, kind_of

# ruff: noqa: E501  # lines as programs write them
CONFIG, PORT, DEPENDENCY, DISK = LogKind.CONFIG, LogKind.PORT, LogKind.DEPENDENCY, LogKind.DISK
MEMORY, CODE, PERMISSION, OTHER = LogKind.MEMORY, LogKind.CODE, LogKind.PERMISSION, LogKind.OTHER
LINES: list[tuple[str, LogKind, str]] = [
    # Python
    ("OSError: [Errno 98] Address already in use", PORT, ""),
    ("OSError: [Errno 98] error while attempting to bind on address ('127.0.0.1', 8080): address already in use", PORT, "8080"),
    ("ConnectionRefusedError: [Errno 111] Connection refused", DEPENDENCY, ""),
    ("redis.exceptions.ConnectionError: Error 111 connecting to localhost:6379. Connection refused.", DEPENDENCY, "localhost:6379"),
    ('psycopg2.OperationalError: connection to server at "db.local" (10.0.0.5), port 5432 failed: Connection refused', DEPENDENCY, "db.local:5432"),
    ("socket.gaierror: [Errno -2] Name or service not known", DEPENDENCY, ""),
    ("urllib3.exceptions.MaxRetryError: HTTPConnectionPool(host='api', port=9000): Max retries exceeded", DEPENDENCY, "api:9000"),
    ("json.decoder.JSONDecodeError: Expecting property name enclosed in double quotes: line 1 column 3", CONFIG, ""),
    ("yaml.scanner.ScannerError: mapping values are not allowed here", CONFIG, ""),
    ("tomllib.TOMLDecodeError: Invalid statement (at line 1, column 1)", CONFIG, ""),
    ("configparser.MissingSectionHeaderError: File contains no section headers.", CONFIG, ""),
    ("ModuleNotFoundError: No module named 'frobnicate'", CODE, "frobnicate"),
    ("ImportError: cannot import name 'x' from 'y' (/srv/y.py)", CODE, "x"),
    ("SyntaxError: invalid syntax", CODE, ""),
    ("AttributeError: 'NoneType' object has no attribute 'run'", CODE, "NoneType"),
    ("v2: missing module frobnicate", CODE, "frobnicate"),
    ("MemoryError", MEMORY, ""),
    ("OSError: [Errno 28] No space left on device: '/var/log/app/app.log'", DISK, "/var/log/app/app.log"),
    ("OSError: [Errno 30] Read-only file system: '/data/x'", DISK, "/data/x"),
    ("PermissionError: [Errno 13] Permission denied: '/etc/app/key.pem'", PERMISSION, "/etc/app/key.pem"),
    ("KeyError: 'dep'", OTHER, "dep"),
    # Node
    ("Error: listen EADDRINUSE: address already in use :::3000", PORT, "3000"),
    ("Error: connect ECONNREFUSED 127.0.0.1:5432", DEPENDENCY, "127.0.0.1:5432"),
    ("Error: getaddrinfo ENOTFOUND redis", DEPENDENCY, ""),
    ("Error: Cannot find module './routes'", CODE, "./routes"),
    ("SyntaxError: Unexpected token } in JSON at position 14", CONFIG, ""),
    ("FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory", MEMORY, ""),
    ("Error: ENOSPC: no space left on device, write", DISK, ""),
    ("Error: EACCES: permission denied, open '/srv/app/.env'", PERMISSION, "/srv/app/.env"),
    # Java
    ("java.net.BindException: Address already in use", PORT, ""),
    ("Web server failed to start. Port 8080 was already in use.", PORT, "8080"),
    ("java.lang.OutOfMemoryError: Java heap space", MEMORY, ""),
    ("Exception in thread \"main\" java.lang.NoClassDefFoundError: com/x/Y", CODE, "main"),
    ("Error: Could not find or load main class com.acme.Main", CODE, ""),
    ("java.net.UnknownHostException: db", DEPENDENCY, ""),
    ("java.net.ConnectException: Connection refused (Connection refused)", DEPENDENCY, ""),
    # Go
    ("listen tcp :8080: bind: address already in use", PORT, "8080"),
    ("dial tcp 10.0.0.7:6379: connect: connection refused", DEPENDENCY, "10.0.0.7:6379"),
    ("dial tcp: lookup db on 127.0.0.11:53: no such host", DEPENDENCY, ""),
    ("fatal error: all goroutines are asleep - deadlock!", LogKind.DEADLOCK, ""),
    ("invalid character 'o' looking for beginning of object key string", CONFIG, ""),
    ("config.yaml: yaml: line 3: did not find expected key", CONFIG, "config.yaml"),
    ("panic: runtime error: index out of range [3] with length 3", OTHER, ""),
    # Ruby, PHP, Rust, shell
    ("cannot load such file -- sinatra (LoadError)", CODE, ""),
    ("Address already in use - bind(2) for \"0.0.0.0\" port 9292 (Errno::EADDRINUSE)", PORT, "9292"),
    ("PHP Fatal error:  Allowed memory size of 134217728 bytes exhausted", MEMORY, ""),
    ("thread 'main' panicked at 'called unwrap on Err: Os { code: 98, kind: AddrInUse, message: \"Address in use\" }'", PORT, ""),
    ("sh: 1: exec: node18: not found", CODE, ""),
    ("./app: error while loading shared libraries: libssl.so.1.1: cannot open shared object file", CODE, ""),
    # nginx, PostgreSQL, MySQL, Redis
    ("nginx: [emerg] bind() to 0.0.0.0:80 failed (98: Address already in use)", PORT, "80"),
    ("nginx: [emerg] unknown directive \"servr\" in /etc/nginx/nginx.conf:12", CONFIG, "/etc/nginx/nginx.conf"),
    ("connect() failed (111: Connection refused) while connecting to upstream, upstream: \"http://127.0.0.1:9000\"", DEPENDENCY, "127.0.0.1:9000"),
    ("FATAL:  the database system is starting up", DEPENDENCY, ""),
    ("PANIC:  could not write to file \"pg_wal/xlogtemp.99\": No space left on device", DISK, "pg_wal/xlogtemp.99"),
    ("ERROR:  deadlock detected", LogKind.DEADLOCK, ""),
    ("*** FATAL CONFIG FILE ERROR (Redis 7.0.15) ***", CONFIG, ""),
    ("MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk", DISK, ""),
    # plain words of small services
    ("dependency down: ECONNREFUSED", DEPENDENCY, ""),
    ("FATAL: missing required environment variable DATABASE_URL", CONFIG, ""),
    ("config error: unknown key 'prot' in settings.toml", CONFIG, "settings.toml"),
    ("ERROR database unavailable, retrying", DEPENDENCY, ""),
    ("upstream not usable: HTTP Error 503: Service Unavailable", DEPENDENCY, ""),
    ("Out of memory: Killed process 1234 (java)", MEMORY, ""),
    ("could not bind to port 7000", PORT, "7000"),
]  # fmt: skip
FINE = [
    "GET /health 200 3ms",
    "finished with 0 errors",
    "errors=0 warnings=2",
    "error_log /var/log/nginx/error.log;",
    "listening on 127.0.0.1:8080",
    "connected to redis at localhost:6379",
    "config loaded from /etc/app/config.json",
    '  File "/usr/lib/python3.12/json/decoder.py", line 355, in raw_decode',
    "    at Object.<anonymous> (/srv/app/error.js:1:7)",
    "please restart worker-2 and delete /var/lib/db",
    "h" * 64,
    "",
]


@pytest.mark.parametrize(("line", "kind", "subject"), LINES, ids=[line[:40] for line, _, _ in LINES])
def test_a_line_of_trouble_is_sorted(line: str, kind: LogKind, subject: str) -> None:
    found = kind_of(line)
    assert found is not None
    assert found[0] == kind
    assert subject in found[1]
    stamped = kind_of(f"2026-11-21T20:00:00.123Z app[17] {line}")
    assert stamped is not None
    assert stamped[0] == kind


@pytest.mark.parametrize("line", FINE)
def test_a_line_of_no_trouble_is_of_no_kind(line: str) -> None:
    assert kind_of(line) is None


def test_every_phrase_has_a_literal_part() -> None:
    for _, phrases, _ in KINDS:
        for literal, pattern in phrases:
            assert len(literal) >= 4, pattern.pattern
            assert literal in pattern.pattern.replace("\\", "")


def test_a_line_of_an_access_log_costs_little() -> None:
    line = '127.0.0.1 - - [21/Nov/2026:20:00:00 +0000] "GET /health HTTP/1.1" 200 2 "-" "curl/8"'
    begun = time.process_time()
    for _ in range(1000):
        kind_of(line)
    assert time.process_time() - begun < 0.1  # measured: 12 microseconds a line


@given(st.text(max_size=300))
def test_any_line_is_sorted_or_not(line: str) -> None:
    found = kind_of(line)
    assert found is None or isinstance(found[0], LogKind)


def lines(log: Log, now_s: float = 0.0) -> list[str]:
    return [hit.line for hit in log.hits(now_s)]


def test_a_log_is_followed_from_where_we_met_it(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    path.write_text("OSError: [Errno 28] No space left on device\n")
    log = Log((str(path),))
    log.read(0.0)
    assert lines(log) == []
    with path.open("a") as file:
        file.write("listen EADDRINUSE :::3000\nlisten EADDRINUSE :::3000\nKeyErr")
    log.read(1.0)
    assert log.hits(3.5) == (LogHit(PORT, "listen EADDRINUSE :::3000", 2, "3000", 2.5),)
    with path.open("a") as file:
        file.write("or: 'dep'\n")
    log.read(2.0)
    assert lines(log) == ["KeyError: 'dep'", "listen EADDRINUSE :::3000"]
    log.begin()
    assert lines(log) == []


def test_the_history_of_a_service_that_is_down_counts(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    path.write_text("x" * TAIL_BYTES + "KeyError: 'cut'\nMemoryError\n")
    log = Log((str(path),))
    log.read(0.0, history=True)
    assert lines(log) == ["MemoryError"]


def test_a_log_that_comes_later_is_read_from_its_first_byte(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    log = Log((str(path),))
    log.read(0.0)
    path.write_text("MemoryError\n")
    log.read(0.0)
    assert lines(log) == ["MemoryError"]


def test_rotation_loses_no_line(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    path.write_text("hello\n")
    log = Log((str(path),))
    log.read(0.0)
    with path.open("a") as file:
        file.write("MemoryError\n")
    path.rename(tmp_path / "app.log.1")
    path.write_text("listen EADDRINUSE :::3000\n")
    log.read(0.0)
    assert lines(log) == ["MemoryError", "listen EADDRINUSE :::3000"]


def test_truncation_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    path.write_text("hello, this is a long line\n")
    log = Log((str(path),))
    log.read(0.0)
    path.write_text("MemoryError\n")
    log.read(0.0)
    assert lines(log) == ["MemoryError"]


def test_a_flood_is_sampled_from_its_end_and_said(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    path.touch()
    log = Log((str(path),))
    log.read(0.0)
    path.write_bytes(b"MemoryError\n" + b"GET /\n" * (LOOK_BYTES // 6 + 10) + b"KeyError: 'x'\n")
    log.read(0.0)
    assert lines(log) == ["KeyError: 'x'"]
    assert log.skipped_bytes == path.stat().st_size - LOOK_BYTES


def test_a_last_word_without_an_end_counts_when_the_service_ended(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    path.touch()
    log = Log((str(path),))
    log.read(0.0)
    path.write_text("v2: missing module frobnicate")
    log.read(0.0)
    assert lines(log) == []
    log.close_line(0.0)
    assert lines(log) == ["v2: missing module frobnicate"]


def test_code_that_a_traceback_quotes_is_not_what_went_wrong(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    path.touch()
    log = Log((str(path),))
    log.read(0.0)
    path.write_text(
        "Traceback (most recent call last):\n"
        '  File "/srv/app.py", line 3, in main\n'
        "    except ImportError: raise MemoryError\n"
        "ValueError: 3\n"
    )
    log.read(0.0)
    assert lines(log) == ["ValueError: 3"]


def test_secrets_pass_the_seal_and_lines_are_cut(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    path.touch()
    log = Log((str(path),), seal=lambda text: text.replace("hunter2hunter2", "‹secret›"))
    log.read(0.0)
    path.write_text("error: password hunter2hunter2 " + "y" * 500 + "\n")
    log.read(0.0)
    (hit,) = log.hits(0.0)
    assert "hunter2" not in hit.line
    assert len(hit.line) == LINE_SHOWN


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    log = Log((str(tmp_path / "pipe"), str(tmp_path / "pipe" / "below")))
    log.read(0.0)
    assert len(log.notes) == 2


def test_a_folder_stands_for_the_live_logs_in_it(tmp_path: Path) -> None:
    log = Log((str(tmp_path),))
    log.read(0.0)
    for name in ("app.log", "app.log.1", "notes.txt"):
        (tmp_path / name).write_text("MemoryError\n")
    log.read(0.0)
    assert [hit.count for hit in log.hits(0.0)] == [1]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a link to another user")
def test_a_link_does_not_lead_to_files_of_others(tmp_path: Path) -> None:
    (tmp_path / "private").write_text("")
    (tmp_path / "app.log").symlink_to(tmp_path / "private")
    log = Log((str(tmp_path / "app.log"),))
    log.read(0.0)
    (tmp_path / "private").write_text("MemoryError\n")
    log.read(0.0)
    assert lines(log) == ["MemoryError"]  # its owner is root, or owns both
    os.chown(tmp_path / "app.log", 12345, 12345, follow_symlinks=False)
    with (tmp_path / "private").open("a") as file:
        file.write("KeyError: 'secret'\n")
    log.read(0.0)
    assert lines(log) == ["MemoryError"]
    assert "another owner" in log.notes[str(tmp_path / "app.log")]
