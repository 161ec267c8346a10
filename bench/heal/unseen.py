"""The second set: other languages, chains, deploys by symlink, two faults at once, what only looks like one.

Written before the diagnosis was read, as the first set. `scenarios.py` plays them.
"""

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from claims import Claim, Scenario, claim, healed, on, quiet
from players import FORKS, Kept, Released, available, ini, perl, shell, toml, toml_text, write_slowly
from stage import SERVICE, Hurt, Stage, free_port, until


def listener(port: int = 0) -> socket.socket:
    """Something that takes connections."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(("127.0.0.1", port))
    made.listen(64)
    return made


def named(stage: Stage, service: str, *causes: str) -> Claim:
    """The incident of it carries one of these names."""
    found = stage.causes(service)
    return claim(f"{service}: cause {' or '.join(causes)}", bool(set(causes) & set(found)), found)


def perl_crash(folder: Path) -> Iterator[Claim]:
    """A Perl service dies once."""
    a, b = perl(folder, "worker-a"), Hurt(folder, "worker-b")
    with on(folder, [a, b]):
        a.signal()
        yield from healed(a, 1, 3.0, 1)
        yield claim("bystander untouched", b.starts() == 1, b.starts())


def ini_broken(folder: Path) -> Iterator[Claim]:
    """A required option is lost from an ini file; nothing says JSON or traceback."""
    a = perl(folder, "worker-a")
    with on(folder, [a]) as stage:
        a.settings.write_text("[main]\ncolour = blue\n")
        a.signal()
        yield from quiet(a, 1, 10, 1)
        yield named(stage, "worker-a", "bad_config")
        before = a.starts()
        a.settings.write_text(ini(0))
        yield from healed(a, before, 3.0, 1)


def env_broken(folder: Path) -> Iterator[Claim]:
    """An unclosed quote in a file that a shell sources."""
    a = shell(folder, "worker-a")
    with on(folder, [a]) as stage:
        a.settings.write_text('GREETING="good day\nWWW_OPTIONS="-v"\n')
        for pid in _at(a.port):
            os.kill(pid, signal.SIGKILL)
        yield from quiet(a, 1, 10, 1)
        yield named(stage, "worker-a", "bad_config")
        before = a.starts()
        a.settings.write_text('GREETING="good morning"\nWWW_OPTIONS="-v"\n')
        yield from healed(a, before, 3.0, 1)
        for pid in _at(a.port):
            os.kill(pid, signal.SIGKILL)


def toml_wrong(folder: Path) -> Iterator[Claim]:
    """It parses, and means nothing: workers = "many"."""
    a = toml(folder, "worker-a")
    with on(folder, [a]) as stage:
        a.settings.write_text('[server]\nworkers = "many"\n')
        a.signal()
        yield from quiet(a, 1, 10, 1)
        yield named(stage, "worker-a", "bad_config")
        before = a.starts()
        a.settings.write_text(toml_text())
        yield from healed(a, before, 3.0, 1)


def config_gone(folder: Path) -> Iterator[Claim]:
    """Somebody moved the settings away."""
    a = toml(folder, "worker-a")
    with on(folder, [a]) as stage:
        away = a.settings.rename(a.base / "app.toml.bak")
        a.signal()
        yield from quiet(a, 1, 10, 1)
        yield named(stage, "worker-a", "bad_config")
        before = a.starts()
        away.rename(a.settings)
        yield from healed(a, before, 3.0, 1)


def half_written(folder: Path) -> Iterator[Claim]:
    """The crash falls into the writing of the settings; the other half comes four seconds later."""
    a = Hurt(folder, "worker-a", colour="blue", shape="round")
    with on(folder, [a]):
        rest = write_slowly(a.base / "settings.json", {"colour": "green", "shape": "square"})
        a.signal()
        time.sleep(4)
        (a.base / "settings.json").write_text(rest)
        yield from healed(a, 1, 3.0, 2)


def symlink_deploy(folder: Path, granted: bool) -> Iterator[Claim]:
    """`current` is switched to a release that cannot start."""
    a = Released(folder, "worker-a", SERVICE)
    with on(folder, [a], "restart, rollback" if granted else "restart") as stage:
        a.release("2", SERVICE.replace("import http.server", "import htpp.server", 1))
        a.signal()
        if granted:
            yield from healed(a, 1, 12.0, 1)
            at = str((a.base / "current").readlink())
            yield claim("current is release 1 again", at.endswith("releases/1"), at)
            return
        yield from quiet(a, 1, 10, 1)
        yield named(stage, "worker-a", "bad_deploy")
        asked = stage.veilig("approvals", "list", "--json", "--policy", str(folder / "veilig.yaml")).stdout
        yield claim("a rollback is proposed to people", "rollback" in asked, asked[:200])


def two_faults(folder: Path) -> Iterator[Claim]:
    """One crashes while another hangs; a third needs neither."""
    a, b, c = (Hurt(folder, f"worker-{name}") for name in "abc")
    with on(folder, [a, b, c]) as stage:
        a.signal()
        b.signal(signal.SIGSTOP)
        yield from healed(a, 1, 3.5, 1)
        yield from healed(b, 1, 9.0, 1)
        yield claim("the third is untouched", c.starts() == 1, c.starts())
        yield named(stage, "worker-b", "hang")


def chain(folder: Path) -> Iterator[Claim]:
    """web needs api needs a cache out of scope: it goes and returns, and nobody is restarted."""
    cache, api, web = Hurt(folder, "cache"), Hurt(folder, "worker-api"), Hurt(folder, "worker-web")
    api.configure(upstream_port=cache.port)
    web.configure(upstream_port=api.port)
    api.extra["deps"], web.extra["deps"] = ["cache"], ["worker-api"]
    with on(folder, [cache, api, web]) as stage:
        cache.signal()
        yield from quiet(api, 1, 12)
        yield from quiet(web, 1, 0.1)
        yield named(stage, "worker-api", "dependency_down")
        cache.start()
        yield from healed(api, 1, 4.0, 0)
        yield from healed(web, 1, 4.0, 0)


def chain_in_scope(folder: Path) -> Iterator[Claim]:
    """The root of a chain crashes and may be restarted: it alone is."""
    root, mid, leaf = Hurt(folder, "worker-root"), Hurt(folder, "worker-mid"), Hurt(folder, "worker-leaf")
    mid.configure(upstream_port=root.port)
    leaf.configure(upstream_port=mid.port)
    mid.extra["deps"], leaf.extra["deps"] = ["worker-root"], ["worker-mid"]
    with on(folder, [root, mid, leaf]):
        root.signal()
        yield from healed(root, 1, 3.0, 1)
        yield from healed(leaf, 1, 4.0, 0)
        yield claim("the middle is untouched", mid.starts() == 1, mid.starts())


def refused_then_exit(folder: Path) -> Iterator[Claim]:
    """Without its backend it says 503 for six seconds, then ends. Nothing declares the backend."""
    up = listener()
    port = up.getsockname()[1]
    a = perl(folder, "worker-a", port)
    with on(folder, [a]) as stage:
        up.close()
        until(lambda: not a.ok(), 5)
        yield from quiet(a, 1, 18, 1)
        yield named(stage, "worker-a", "dependency_down")
        before = a.starts()
        back = listener(port)
        yield from healed(a, before, 3.0, 1)
        back.close()


def fault_during_heal(folder: Path) -> Iterator[Claim]:
    """Killed again as soon as it was started again."""
    a = Hurt(folder, "worker-a")
    with on(folder, [a]):
        a.signal()
        until(lambda: a.starts() == 2, 6, 0.02)
        a.signal()
        yield from healed(a, 1, 8.0, 2)


def flapping(folder: Path) -> Iterator[Claim]:
    """Three probes in ten answer 500, in no order."""
    a = toml(folder, "worker-a")
    with on(folder, [a]) as stage:
        a.touch("flap")
        yield from quiet(a, 1, 35)
        acts = [i.get("acts") for i in stage.incidents()]
        yield claim("no act", not any(acts), acts)


def lagging(folder: Path) -> Iterator[Claim]:
    """Slow answers are answers."""
    a = toml(folder, "worker-a")
    with on(folder, [a]):
        a.touch("lag")
        yield from quiet(a, 1, 25)


def slow_start(folder: Path) -> Iterator[Claim]:
    """Twenty seconds until it listens, and the file does not say so."""
    a = toml(folder, "worker-a", warm=20)
    stage = Stage(folder, [a])
    try:
        a.start()
        until(a.ok, 40)
        stage.heal()
        time.sleep(8)
        a.signal()
        yield from healed(a, 1, 26.0, 1)
    finally:
        stage.end()


def log_rotated(folder: Path) -> Iterator[Claim]:
    """Its log is rotated in the second of its crash; the reason is in the new file."""
    a = Hurt(folder, "worker-a", colour="blue")
    with on(folder, [a]) as stage:
        (a.base / "out.log").rename(a.base / "out.log.1")
        (a.base / "out.log").touch()
        (a.base / "settings.json").write_text("colour: green\n")
        a.signal()
        yield from quiet(a, 1, 10, 1)
        yield named(stage, "worker-a", "bad_config")


def pid_reused(folder: Path) -> Iterator[Claim]:
    """The pid in its file belongs by now to the same program with other words: somebody else's."""
    a = Hurt(folder, "worker-a")
    other = folder / "other"
    other.mkdir()
    port = free_port()
    with on(folder, [a]):
        copy = subprocess.Popen(
            [a.argv[0], a.argv[1], str(other), str(port)], stdout=subprocess.DEVNULL, start_new_session=True
        )
        until((other / "starts").exists, 10)
        os.kill(int((a.base / "pid").read_text()), signal.SIGKILL)
        (a.base / "pid").write_text(str(copy.pid))
        yield from healed(a, 1, 4.0, 1)
        yield claim("the other one lives", copy.poll() is None, copy.poll())
        copy.kill()
        copy.wait()


def sibling_port(folder: Path) -> Iterator[Claim]:
    """An edit gives worker-b the port of worker-a, and both start again."""
    a, b = toml(folder, "worker-a"), toml(folder, "worker-b")
    with on(folder, [a, b]) as stage:
        b.settings.write_text(toml_text(port=a.port))
        a.signal()
        b.signal()
        b.start()
        until(lambda: b.starts() == 2 and bool(_at(a.port)), 5, 0.02)
        time.sleep(12)
        both = a.starts() + b.starts() - 3
        yield claim("no more than two starts in 12 s", both <= 2, both)
        found = stage.causes("worker-a") + stage.causes("worker-b")
        yield claim("named", bool({"port_conflict", "bad_config", "bad_deploy"} & set(found)), found)


def forking(folder: Path) -> Iterator[Claim]:
    """The parent of two workers is killed; they go on answering, and hold the port."""
    a = Hurt(folder, "worker-a", FORKS)
    with on(folder, [a]):
        os.kill(int((a.base / "pid").read_text()), signal.SIGKILL)
        time.sleep(12)
        yield claim("it answers", a.ok())
        yield claim("at most one start", a.starts() <= 2, a.starts() - 1)


def forking_child(folder: Path) -> Iterator[Claim]:
    """A worker dies; its parent makes another one, and nobody else does anything."""
    a = Hurt(folder, "worker-a", FORKS)
    with on(folder, [a]):
        parent = int((a.base / "pid").read_text())
        os.kill(next(pid for pid in a.pids() if pid != parent), signal.SIGKILL)
        yield from quiet(a, 1, 10)
        yield claim("it answers", a.ok())


def descriptors(folder: Path) -> Iterator[Claim]:
    """It keeps every file it opens, until it can open no more."""
    a = toml(folder, "worker-a")
    with on(folder, [a]) as stage:
        a.touch("drip")
        until(lambda: not a.ok(), 20)
        (a.base / "drip").unlink()
        yield from healed(a, 1, 11.0, 1)
        yield named(stage, "worker-a", "leak", "hang", "overload")


def zombie(folder: Path) -> Iterator[Claim]:
    """It is dead, and its parent has not asked: the pid is still there."""
    a = Kept(folder, "worker-a")
    with on(folder, [a]):
        a.signal()
        yield from healed(a, 1, 3.5, 1)
        a.bury()


def clean_exit(folder: Path) -> Iterator[Claim]:
    """It ends with TERM, and no hold says that it should."""
    a = Hurt(folder, "worker-a")
    with on(folder, [a]):
        a.signal(signal.SIGTERM)
        yield from healed(a, 1, 5.0, 1)


def node_port(folder: Path) -> Iterator[Claim]:
    """A Node service ends with its own words when its settings are no JSON."""
    text = (
        "const http=require('http'),fs=require('fs');const [base,port]=process.argv.slice(2);"
        "fs.appendFileSync(base+'/starts',Date.now()/1000+' '+process.pid+'\\n');"
        "JSON.parse(fs.readFileSync(base+'/settings.json'));"
        "http.createServer((q,r)=>r.end('fine')).listen(+port,'127.0.0.1');"
    )
    a = Hurt(folder, "worker-a", text, "node", colour="blue")
    with on(folder, [a]) as stage:
        (a.base / "settings.json").write_text('{"colour": "blue",}')
        a.signal()
        yield from quiet(a, 1, 10, 1)
        yield named(stage, "worker-a", "bad_config")
        before = a.starts()
        a.configure(colour="red")
        yield from healed(a, before, 3.0, 1)


def _at(port: int) -> list[int]:
    """Pids that listen there."""
    found = subprocess.run(["ss", "-Hltnp", f"sport = :{port}"], capture_output=True, text=True, check=False)
    return [int(pid) for pid in re.findall(r"pid=(\d+)", found.stdout)]


SCENARIOS: dict[str, Scenario] = {
    **({"perl_crash": perl_crash, "ini_broken": ini_broken} if available("perl") else {}),
    **({"refused_then_exit": refused_then_exit} if available("perl") else {}),
    **({"env_broken": env_broken} if available("busybox") else {}),
    **({"node_config": node_port} if available("node") else {}),
    "toml_wrong": toml_wrong,
    "config_gone": config_gone,
    "half_written": half_written,
    "symlink_asked": lambda folder: symlink_deploy(folder, False),
    "symlink_granted": lambda folder: symlink_deploy(folder, True),
    "two_faults": two_faults,
    "chain": chain,
    "chain_in_scope": chain_in_scope,
    "fault_during_heal": fault_during_heal,
    "flapping": flapping,
    "lagging": lagging,
    "slow_start": slow_start,
    "log_rotated": log_rotated,
    "pid_reused": pid_reused,
    "sibling_port": sibling_port,
    "forking": forking,
    "forking_child": forking_child,
    "descriptors": descriptors,
    "zombie": zombie,
    "clean_exit": clean_exit,
}  # fmt: skip
