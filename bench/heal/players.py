"""Services of other habits: Perl with an ini file, a shell with an env file, TOML, workers, releases."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from stage import Hurt

PERL = r"""
use strict; use IO::Socket::INET;
my ($base, $port) = @ARGV;
open(my $s, '>>', "$base/starts"); print $s time . " $$\n"; close $s;
my %c; open(my $f, '<', "$base/app.ini") or die "cannot read $base/app.ini: $!\n";
while (<$f>) {
  next if /^\s*([#;\[].*)?$/;
  /^\s*(\w+)\s*=\s*(.*?)\s*$/ or die "app.ini line $.: not KEY = VALUE: $_";
  $c{$1} = $2;
}
for my $k (qw(colour backend)) { defined $c{$k} or die "app.ini: option '$k' is required\n"; }
sub up {
  my ($h, $p) = split /:/, $c{backend};
  return $p eq '0' || !!IO::Socket::INET->new(PeerAddr => $h, PeerPort => $p, Timeout => 1);
}
up() or die "Could not connect to the backend\n";
my $l = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $port, Listen => 64, ReuseAddr => 1)
  or die "bind: $!\n";
$SIG{PIPE} = 'IGNORE'; $| = 1; print "ready\n"; my $since = 0;
while (my $k = $l->accept) {
  my $line = <$k>; while (defined(my $h = <$k>)) { last if $h =~ /^\r?\n$/; }
  my $ok = up(); $since = $ok ? 0 : $since || time;
  if ($since && time - $since > 6) { print STDERR "giving up on the backend\n"; exit 4; }
  my $b = $ok ? "fine" : "backend away";
  my $s = $ok ? "200 OK" : "503 Service Unavailable";
  print $k "HTTP/1.0 $s\r\nContent-Length: " . length($b) . "\r\n\r\n$b"; close $k;
}
"""

SHELL = """\
#!/bin/sh
# the habit of thousands of start scripts: settings are a file that is sourced
base=$1 port=$2
date "+%s $$" >> "$base/starts"
set -eu
. "$base/service.env"
mkdir -p "$base/www"
echo "$GREETING" > "$base/www/index.html"
exec busybox httpd -f -p "127.0.0.1:$port" -h "$base/www" "$WWW_OPTIONS"
"""

TOML = """\
import http.server, os, resource, sys, time, tomllib
resource.setrlimit(resource.RLIMIT_NOFILE, (512, 512))
base, port = sys.argv[1], int(sys.argv[2])
with open(base + "/starts", "a") as f:
    f.write(f"{time.time()} {os.getpid()}\\n")
with open(base + "/app.toml", "rb") as f:
    config = tomllib.load(f)
workers = int(config["server"]["workers"])
time.sleep(float(config["server"].get("warm", 0)))
keep = []
class H(http.server.BaseHTTPRequestHandler):
    def log_message(self, *a): pass
    def do_GET(self):
        code = 200
        try:
            keep.append(open(base + "/app.toml"))
            if not os.path.exists(base + "/drip"): keep.pop().close()
            elif len(keep) < 900: keep.extend(open(base + "/app.toml") for _ in range(150))
        except OSError as error:
            print("cannot answer:", error, file=sys.stderr, flush=True)
            code = 500
        if os.path.exists(base + "/lag"): time.sleep(0.9)
        if os.path.exists(base + "/flap"):
            flap[0] = (flap[0] * 1103515245 + 12345) % 2147483648
            if flap[0] % 100 < 30: code = 500
        self.send_response(code); self.send_header("content-length", "0"); self.end_headers()
flap = [7]
print("up with", workers, "workers", flush=True)
http.server.ThreadingHTTPServer(("127.0.0.1", int(config["server"].get("port", port))), H).serve_forever()
"""

FORKS = """\
import http.server, os, signal, socket, sys, time
base, port = sys.argv[1], int(sys.argv[2])
with open(base + "/starts", "a") as f:
    f.write(f"{time.time()} {os.getpid()}\\n")
class H(http.server.BaseHTTPRequestHandler):
    def log_message(self, *a): pass
    def do_GET(self):
        self.send_response(200); self.send_header("content-length", "0"); self.end_headers()
server = http.server.HTTPServer(("127.0.0.1", port), H)
def child():
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        server.serve_forever()
    return pid
pids = {child() for _ in range(2)}
def down(*a):
    for pid in pids: os.kill(pid, 9)
    sys.exit(0)
signal.signal(signal.SIGTERM, down)
while True:
    gone, _ = os.wait()
    pids.discard(gone); print("worker", gone, "ended, another one starts", flush=True); pids.add(child())
"""


class Odd(Hurt):
    """A service with a settings file of another name, and another interpreter."""

    def __init__(self, folder: Path, name: str, text: str, program: str, settings: str, content: str):
        super().__init__(folder, name, text, program)
        self.settings = self.base / settings
        self.settings.write_text(content)
        self.extra["config"] = str(self.settings)


def perl(folder: Path, name: str, backend: int = 0) -> Odd:
    """Perl with an ini file; it answers 503 for six seconds without its backend, then ends."""
    return Odd(folder, name, PERL, "perl", "app.ini", ini(backend))


def ini(backend: int) -> str:
    """The settings of `perl`."""
    return f"; kept by hand\n[main]\ncolour = blue\nbackend = 127.0.0.1:{backend}\n"


def shell(folder: Path, name: str) -> Odd:
    """A start script that sources its settings and becomes busybox httpd."""
    made = Odd(folder, name, SHELL, "sh", "service.env", 'GREETING="good day"\nWWW_OPTIONS="-v"\n')
    made.program = "sh"
    return made


def toml(folder: Path, name: str, port: int = 0, warm: float = 0) -> Odd:
    """Python with TOML settings."""
    return Odd(folder, name, TOML, "python3", "app.toml", toml_text(port, warm))


def toml_text(port: int = 0, warm: float = 0) -> str:
    """The settings of `toml`."""
    return f"[server]\nworkers = 4\nwarm = {warm}\n" + (f"port = {port}\n" if port else "")


class Released(Hurt):
    """A service behind a symlink: current -> releases/1, as deploy tools leave it."""

    def __init__(self, folder: Path, name: str, text: str):
        super().__init__(folder, name, text)
        self.release("1", text)
        self.app.unlink()
        self.app = self.base / "current" / "app.py"

    def release(self, number: str, text: str) -> None:
        place = self.base / "releases" / number
        place.mkdir(parents=True)
        (place / "app.py").write_text(text)
        fresh = self.base / "current.new"
        fresh.symlink_to(place)
        fresh.rename(self.base / "current")


class Kept(Hurt):
    """Started by a parent that never asks how it went: killed, it stays a zombie."""

    def start(self) -> None:
        program = (
            "import subprocess,sys,time\n"
            "c=subprocess.Popen(sys.argv[2:],stdin=subprocess.DEVNULL,start_new_session=True)\n"
            "open(sys.argv[1],'w').write(str(c.pid))\ntime.sleep(1e6)\n"
        )
        with (self.base / "out.log").open("a") as log:
            command = [sys.executable, "-c", program, str(self.base / "pid"), *self.argv]
            self.parent = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    def bury(self) -> None:
        os.kill(self.parent.pid, signal.SIGKILL)
        self.parent.wait()


def available(*programs: str) -> bool:
    """Are these here?"""
    return all(shutil.which(one) for one in programs)


def write_slowly(path: Path, content: Any) -> str:
    """Half of it now; the rest is what comes back."""
    text = json.dumps(content, indent=1)
    path.write_text(text[: len(text) // 2])
    return text
