"""How does a command go on while the next one runs, and how is it talked to? Scripts for the box's own bash.

A job lives in the box: its input is a pipe, its output a file in the box's private /tmp, and both go when
the box goes.
"""

import re

_JOBS = "/tmp/.veilig-jobs"  # noqa: S108  # the box's own /tmp
_NAME = re.compile(r"[\w.-]{1,40}")
_START = """\
d=$1; if kill -0 -- -"$(cat $d/pid 2>/dev/null)" 2>/dev/null; then echo "this job runs already"; exit 1; fi
rm -rf "$d"; mkdir -p "$d" && mkfifo "$d/in" && : >"$d/out" || exit 1
setsid bash -c 'echo $$ >"$1/pid"; bash -c "$2" 0<>"$1/in" >"$1/out" 2>&1; echo $? >"$1/code"' job "$d" "$2" &
sleep 0.3; tail -c +1 "$d/out"; wc -c <"$d/out" >"$d/seen"
"""
_ASK = """\
d=$1; [ -d "$d" ] || { echo "there is no such job"; exit 1; }
if [ -n "$2" ] && [ ! -e "$d/code" ]; then printf %s "$2" >"$d/in"; sleep 0.5; fi
if [ "$3" = stop ]; then kill -TERM -- -"$(cat "$d/pid")" 2>/dev/null; sleep 0.2; fi
seen=$(cat "$d/seen"); tail -c +$((seen + 1)) "$d/out"; wc -c <"$d/out" >"$d/seen"
if [ -e "$d/code" ]; then echo "[ended with $(cat "$d/code")]"
elif kill -0 -- -"$(cat "$d/pid")" 2>/dev/null; then echo "[runs]"; else echo "[stopped]"; fi
"""


def start_job(name: str, command: str) -> tuple[str, ...] | None:
    """The argv that starts a job and shows its first words; None when the name is none."""
    return ("bash", "-c", _START, "job", f"{_JOBS}/{name}", command) if _NAME.fullmatch(name) else None


def ask_job(name: str, text: str, *, stop: bool) -> tuple[str, ...] | None:
    """The argv that writes `text` to a job's input and shows what it said since last time."""
    if not _NAME.fullmatch(name):
        return None
    return ("bash", "-c", _ASK, "job", f"{_JOBS}/{name}", text, "stop" if stop else "")
