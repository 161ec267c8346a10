"""What happens inside the box when a desktop is used? It is stood up, looked at, and programs are started.

Run there by the system's own Python (3.10 or later), as a file, with what Debian brings: nothing of ours is
imported. One command per act; screen, window manager and buses are daemons that live as long as the box.
Prints one JSON object; exit code 3 with "missing" or "trouble" where something is not there.
"""

import base64
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import time
import zlib
from importlib import import_module
from pathlib import Path
from typing import Any

HERE = Path("/tmp/veilig-desktop")  # noqa: S108  # the box's own /tmp
SOCKETS = Path("/tmp/.X11-unix")  # noqa: S108  # where the screen's socket lies
DISPLAY = ":77"
BUS = HERE / "bus"
LAUNCHERS = ("/usr/libexec/at-spi-bus-launcher", "/usr/lib/at-spi2-core/at-spi-bus-launcher")
# program -> the Debian package that brings it
NEEDED = {
    "Xvfb": "xvfb",
    "xkbcomp": "x11-xkb-utils",
    "openbox": "openbox",
    "xdotool": "xdotool",
    "xwininfo": "x11-utils",
    "xmodmap": "x11-xserver-utils",
}
NODES_MAX = 600  # of a tree: about 25,000 characters; deeper ones are counted
TEXT_CHARS_MAX = 2000  # of one field
WALK_S = 20.0  # a program that hangs must not hang the look
STILL_S, STILL_MAX_S = 0.15, 1.5  # unchanged for so long, looked at for so long: a cursor blinks forever
_FONTS = """<?xml version="1.0"?><fontconfig><dir>/usr/share/fonts</dir><dir>/usr/local/share/fonts</dir>
<cachedir>{here}/fonts</cachedir></fontconfig>"""
_OPENBOX = """<?xml version="1.0"?><openbox_config xmlns="http://openbox.org/3.4/rc">
<focus><focusNew>yes</focusNew><followMouse>no</followMouse></focus>
<placement><policy>Smart</policy><center>no</center></placement>
<desktops><number>1</number></desktops>
<keyboard><keybind key="A-F4"><action name="Close"/></keybind>
<keybind key="A-Tab"><action name="NextWindow"/></keybind></keyboard>
<mouse><context name="Titlebar"><mousebind button="Left" action="Drag"><action name="Move"/></mousebind>
<mousebind button="Left" action="Press"><action name="Focus"/><action name="Raise"/></mousebind></context>
<context name="Close"><mousebind button="Left" action="Click"><action name="Close"/></mousebind></context>
<context name="Client"><mousebind button="Left" action="Press"><action name="Focus"/><action name="Raise"/>
</mousebind></context></mouse></openbox_config>"""


def environment() -> dict[str, str]:
    """What programs on the desktop are told."""
    return {
        **os.environ,
        "DISPLAY": DISPLAY,
        "DBUS_SESSION_BUS_ADDRESS": f"unix:path={BUS}",
        "XDG_RUNTIME_DIR": str(HERE),
        "FONTCONFIG_FILE": f"{HERE}/fonts.conf",
        "GTK_MODULES": "gail:atk-bridge",
        "NO_AT_BRIDGE": "0",
        "QT_ACCESSIBILITY": "1",
        "QT_LINUX_ACCESSIBILITY_ALWAYS_ON": "1",
        "GSETTINGS_BACKEND": "memory",
        "LIBGL_ALWAYS_SOFTWARE": "1",
        "LC_ALL": "C.UTF-8",
    }


class Trouble(Exception):
    """What is wrong, for people."""


# --- standing up -----------------------------------------------------------------------------------------


def start(width: int, height: int) -> dict[str, Any]:
    """Bring the desktop up, once. Says what of it works."""
    missing = {name: package for name, package in NEEDED.items() if not shutil.which(name)}
    if missing:
        return {"missing": missing}
    # veilig: ignore[CWE-379] reason=the /tmp of the box: who else writes there is in the same box
    (HERE / "fonts").mkdir(mode=0o700, parents=True, exist_ok=True)
    # veilig: ignore[CWE-379] reason=where X looks for its sockets, in the box's own /tmp
    SOCKETS.mkdir(mode=0o1777, exist_ok=True)
    for name, text in (("fonts.conf", _FONTS.format(here=HERE)), ("openbox.xml", _OPENBOX)):
        (HERE / name).write_text(text, encoding="utf-8")
    os.environ.update(environment())
    notes = [_bus()]
    read, write = os.pipe()
    options = f"-screen 0 {width}x{height}x24 -fbdir {HERE} -nolisten tcp -nolisten local -noreset"
    _daemon("Xvfb", DISPLAY, *options.split(), "-displayfd", str(write), pass_fds=(write,))
    os.close(write)
    with os.fdopen(read) as ready:
        if not ready.readline().strip():
            raise Trouble(f"Xvfb does not start: {_said('Xvfb')}")
    _daemon("openbox", "--config-file", str(HERE / "openbox.xml"), "--sm-disable")
    _until(lambda: _run("xdotool", "get_num_desktops").returncode == 0, "openbox")
    launcher = next((path for path in LAUNCHERS if os.access(path, os.X_OK)), "")
    if launcher and not notes[0]:
        _daemon(launcher, "--launch-immediately")
    elif not launcher:
        notes.append("at-spi2-core is not installed")
    found: dict[str, Any] = {"width": width, "height": height, "tree": "; ".join(n for n in notes if n)}
    if not found["tree"]:
        found["tree"] = _tree_works()
    pixels = _pixels()
    if (pixels[0], pixels[1]) != (width, height):
        raise Trouble(f"the screen is {pixels[0]}x{pixels[1]}, not {width}x{height}")
    _run("xdotool", "mousemove", "5", "7")
    where = _run("xdotool", "getmouselocation", "--shell").stdout.split()
    if where[:2] != ["X=5", "Y=7"]:
        raise Trouble(f"the pointer does not move: {' '.join(where)}")
    return found


def _bus() -> str:
    """The session bus; why there is none, else "". Programs work without one, the tree does not."""
    if not shutil.which("dbus-daemon"):
        return "dbus-daemon is not installed"
    _daemon("dbus-daemon", "--session", "--nofork", f"--address=unix:path={BUS}", "--nopidfile")
    try:
        _until(BUS.exists, "dbus-daemon")
    except Trouble as error:
        return str(error)
    return ""


def _tree_works() -> str:
    """Why there is no accessibility tree, else ""."""
    try:
        atspi = _atspi()
    except Trouble as error:
        return str(error)
    until_s = time.monotonic() + 20
    while time.monotonic() < until_s:
        if atspi.get_desktop(0) is not None:
            return ""
        time.sleep(0.1)
    return "the registry of accessible programs does not answer"


def _daemon(*argv: str, pass_fds: tuple[int, ...] = ()) -> None:
    with (HERE / f"{Path(argv[0]).name}.log").open("wb") as log:
        subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, pass_fds=pass_fds,
            cwd=HERE,
        )  # fmt: skip


def _said(name: str) -> str:
    try:
        said = (HERE / f"{name}.log").read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        return str(error)
    return said[-500:].strip() or "it says nothing"


def _until(ready: Any, name: str) -> None:
    until_s = time.monotonic() + 30
    while not ready():
        if time.monotonic() > until_s:
            raise Trouble(f"{name} does not start: {_said(name)}")
        time.sleep(0.05)


def _run(*argv: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        argv,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=30,
    )


# --- looking ---------------------------------------------------------------------------------------------


def look(tree: bool) -> dict[str, Any]:
    """Windows, and the nodes that are shown, when the screen has come to rest."""
    _settle()
    found: dict[str, Any] = {"windows": _windows()}
    if tree:
        found.update(_nodes())
    return found


def picture(masks: "list[list[int]]") -> dict[str, Any]:
    """The screen as PNG, in base64; rectangles (x, y, width, height) are black."""
    width, height, rows = _pixels()
    for x, y, w, h in masks:
        left, right = max(0, min(x, width)), max(0, min(x + w, width))
        for row in range(max(0, y), max(0, min(y + h, height))):
            rows[row * width * 4 + left * 4 : row * width * 4 + right * 4] = bytes((right - left) * 4)
    return {"png": base64.b64encode(png(width, height, rows)).decode(), "width": width, "height": height}


def png(width: int, height: int, bgrx: bytearray) -> bytes:
    """An RGB picture of rows of blue, green, red and an unused byte. Source: PNG, third edition."""
    rgb = bytearray(width * height * 3)
    rgb[0::3], rgb[1::3], rgb[2::3] = bgrx[2::4], bgrx[1::4], bgrx[0::4]
    step = width * 3
    lines = b"".join(b"\0" + rgb[row * step : (row + 1) * step] for row in range(height))

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(lines, 6)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def _pixels() -> "tuple[int, int, bytearray]":
    """(width, height, rows) of the frame buffer, which Xvfb keeps in a file. Source: X11/XWDFile.h."""
    data = (HERE / "Xvfb_screen0").read_bytes()
    head = struct.unpack(">25I", data[:100])
    size, width, height, order, bits, line, colors = (
        head[0],
        head[4],
        head[5],
        head[7],
        head[11],
        head[12],
        head[19],
    )
    if bits != 32 or order != 0:
        raise Trouble(f"the screen has {bits} bits per pixel in byte order {order}, not 32 in 0")
    first = size + colors * 12
    rows = bytearray()
    for row in range(height):
        rows += data[first + row * line : first + row * line + width * 4]
    return width, height, rows


def _settle() -> None:
    """Wait until the screen stays the same, or long enough."""
    until_s = time.monotonic() + STILL_MAX_S
    before = zlib.crc32(_pixels()[2])
    while time.monotonic() < until_s:
        time.sleep(STILL_S)
        now = zlib.crc32(_pixels()[2])
        if now == before:
            return
        before = now


_PLACE = ("Absolute upper-left X", "Absolute upper-left Y", "Width", "Height")


def _windows() -> "list[dict[str, Any]]":
    found: list[dict[str, Any]] = []
    active = _run("xdotool", "getactivewindow").stdout.strip()
    for number in _run("xdotool", "search", "--onlyvisible", "--name", ".").stdout.split():
        told = _run("xwininfo", "-id", number).stdout
        place = [re.search(rf"^\s*{name}:\s+(-?\d+)", told, re.MULTILINE) for name in _PLACE]
        name = _run("xdotool", "getwindowname", number).stdout.strip()
        box = [int(one.group(1)) for one in place if one]
        if name and len(box) == 4 and box[2] > 1 and box[3] > 1:
            found.append({"id": int(number), "name": name, "box": box, "active": number == active})
    return found


def _atspi() -> Any:
    try:
        import_module("gi").require_version("Atspi", "2.0")
        atspi: Any = import_module("gi.repository.Atspi")
    except (ImportError, ValueError) as error:
        why = f"{sys.executable} has no Atspi ({error}): install gir1.2-atspi-2.0, python3-gi"
        raise Trouble(why) from error
    atspi.init()
    atspi.set_timeout(3000, 5000)  # milliseconds: of one question, and of a program that starts
    return atspi


def _nodes() -> "dict[str, Any]":
    """The shown nodes of every program, outermost first, and how many were left out."""
    atspi = _atspi()
    nodes: list[dict[str, Any]] = []
    left, until_s = 0, time.monotonic() + WALK_S
    desktop = atspi.get_desktop(0)
    waiting: list[tuple[Any, int]] = [
        (desktop.get_child_at_index(i), 0) for i in range(desktop.get_child_count())
    ]
    waiting.reverse()
    while waiting:
        one, depth = waiting.pop()
        if one is None:
            continue
        if len(nodes) >= NODES_MAX or time.monotonic() > until_s:
            left += 1 + len(waiting)
            break
        try:
            node, count = _node(atspi, one, depth)
            children = [
                (one.get_child_at_index(i), depth + (node is not None)) for i in range(min(count, 500))
            ]
            left += max(0, count - 500)
        except Exception as error:  # GLib's own class, known only where gi is
            if type(error).__module__.startswith("gi."):
                left += 1  # it went away, or does not answer
                continue
            raise
        if node is not None:
            nodes.append(node)
        waiting += reversed(children)
    return {"nodes": nodes, "left_out": left}


def _node(atspi: Any, one: Any, depth: int) -> "tuple[dict[str, Any] | None, int]":
    """What is told of a node (None where it is not shown), and how many children are worth a look."""
    role, count = one.get_role_name(), one.get_child_count()
    if role == "application":
        return {"role": role, "name": _name(one), "depth": depth, "box": [], "states": []}, count
    states = one.get_state_set()
    shown = states.contains(atspi.StateType.SHOWING)
    if not shown and not states.contains(atspi.StateType.VISIBLE):
        return None, 0
    box = one.get_extents(atspi.CoordType.SCREEN)
    if not shown or box.width <= 0 or box.height <= 0:
        return None, count if role not in ("menu", "menu item") else 0
    said: dict[str, Any] = {
        "role": role,
        "name": _name(one),
        "depth": depth,
        "box": [box.x, box.y, box.width, box.height],
        "states": [n for n in STATES if states.contains(getattr(atspi.StateType, n.upper()))],
    }
    faces = one.get_interfaces()
    if "Text" in faces:
        length = atspi.Text.get_character_count(one)
        words = atspi.Text.get_text(one, 0, min(length, TEXT_CHARS_MAX))
        said["text"] = words + ("..." if length > TEXT_CHARS_MAX else "")
    if "Value" in faces:
        said["value"] = atspi.Value.get_current_value(one)
    return said, count


STATES = ("active", "focused", "checked", "selected", "expanded", "editable", "sensitive")


def _name(one: Any) -> str:
    return (one.get_name() or "").strip()[:TEXT_CHARS_MAX]


# --- starting programs -----------------------------------------------------------------------------------


def launch(argv: "list[str]", settle_s: float) -> dict[str, Any]:
    """Start a program and leave it running. One that ends at once with an error is trouble."""
    log = HERE / f"program-{os.getpid()}.log"
    with log.open("wb") as out:
        try:
            # veilig: ignore[CWE-78] reason=an argv that the gate has let pass, in the wall; no shell reads it
            started = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )
        except OSError as error:
            raise Trouble(f"{argv[0]!r} cannot be started: {error.strerror}") from error
    try:
        code = started.wait(settle_s)
    except subprocess.TimeoutExpired:
        return {"pid": started.pid, "ended": False}
    said = log.read_text(encoding="utf-8", errors="replace")[-2000:].strip()
    if code:
        raise Trouble(f"{argv[0]!r} ended with {code}: {said or 'it says nothing'}")
    return {"pid": started.pid, "ended": True}


def main() -> int:
    """`python3 inside.py JSON`: {"do": start, look, picture or launch, ...}."""
    given = json.loads(sys.argv[1])
    os.environ.update(environment())
    try:
        if given["do"] == "start":
            found = start(given["width"], given["height"])
        elif given["do"] == "look":
            found = look(given["tree"])
        elif given["do"] == "picture":
            found = picture(given["masks"])
        else:
            found = launch(given["argv"], given["settle_s"])
    except (Trouble, OSError, subprocess.SubprocessError, struct.error) as error:
        found = {"trouble": str(error) or type(error).__name__}
    json.dump(found, sys.stdout)
    return 3 if "trouble" in found or "missing" in found else 0


if __name__ == "__main__":
    sys.exit(main())
