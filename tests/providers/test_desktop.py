"""Does the desktop do what it is told, show what is there, and keep secrets from pictures?"""

import struct
import zlib
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from pathlib import Path

import pytest

from desktops import NEEDS_DESKTOP
from veilig.app.desktop import desk_in
from veilig.core.action import Action, ListSkills
from veilig.core.action_desktop import (
    DESKTOP_KINDS,
    ClickPointer,
    DragPointer,
    LaunchProgram,
    LookAtDesktop,
    MovePointer,
    PressKeys,
    ScrollWheel,
    TypeText,
    WaitForDesktop,
)
from veilig.core.action_json import digest, from_json, to_json
from veilig.core.clock import SystemClock
from veilig.core.errors import InvalidAction, ProviderError
from veilig.core.policy import allows_secret, builtin_policy, parse
from veilig.core.provider import Found, Outcome, Permit
from veilig.evals.desktop_acts import play
from veilig.providers.desktop.desk import Desk, Seen, Window, missing_packages, told
from veilig.providers.desktop.provider import DesktopProvider, masked
from veilig.providers.sandbox.wall import CommandResult
from veilig.providers.trial import Place, World, open_world

SECRET = "hunter2-" + "x9Qk"
HANDLE = "\u2039secret:PIN#1\u203a"


def permit(action: Action) -> Permit:
    def swap(text: str, one: str, other: str) -> str:
        return text.replace(one, other)

    return Permit(
        "r", digest(action), SystemClock().boottime_s() + 600, "p", "s",
        lambda text: swap(text, HANDLE, SECRET), lambda text: swap(text, SECRET, HANDLE), lambda _s, _d: None,
    )  # fmt: skip


@pytest.fixture
async def world(tmp_path: Path) -> AsyncGenerator[World]:
    tmp_path.chmod(0o755)
    (tmp_path / "user").mkdir()
    (tmp_path / "user" / "pin.txt").write_text(f"my pin is {SECRET}\n")
    async with await open_world(tmp_path, [Place(tmp_path / "user", "/user", True)], wall_s=600) as standing:
        yield standing


def pixels(png: bytes) -> tuple[int, list[bytes]]:
    """Width and rows of a picture that is stored without filters."""
    width = struct.unpack(">I", png[16:20])[0]
    at, body = 8, b""
    while at < len(png):
        size, name = struct.unpack(">I4s", png[at : at + 8])
        body += png[at + 8 : at + 8 + size] if name == b"IDAT" else b""
        at += 12 + size
    rows, step = zlib.decompress(body), width * 3 + 1
    return width, [rows[i + 1 : i + step] for i in range(0, len(rows), step)]


@NEEDS_DESKTOP
async def test_a_desktop_takes_acts_shows_itself_and_hides_secrets_in_pictures(world: World, tmp_path: Path):
    desk = desk_in(world, "/user")
    provider = DesktopProvider(desk, SystemClock(), tmp_path / "pictures")

    async def act(action: Action) -> Outcome:
        done = await provider.perform(action, permit(action))
        return await provider.verify(action, done, permit(action))

    said = await act(LaunchProgram(("mousepad", "--disable-server", "pin.txt")))
    assert said.detail == "[a new desktop was stood up]\nstarted mousepad"
    await play(desk, [{"shows": 'text "" text="my pin'}])
    seen = await act(LookAtDesktop(picture=True))
    assert SECRET in seen.detail, "the gate turns it into a handle, as in every outcome"
    assert seen.data["masked"] == 1
    png = provider.read_picture(str(seen.data["picture"]))
    node = (await desk.look()).nodes
    x, y, width, height = next(n.box for n in node if SECRET in n.text)
    _, rows = pixels(png)
    inside = [rows[row][x * 3 : (x + width) * 3] for row in range(y, y + height)]
    assert {*b"".join(inside)} == {0}, "the place of the text is black"
    assert any({*row} != {0} for row in rows), "the rest of the picture is there"
    assert max(pixels(await desk.picture())[1][y + height // 2]) > 0, "without a mask it is not black"

    at_x, at_y = x + width // 2, y + height // 2
    for step in (
        ClickPointer(at_x, at_y, count=3),
        PressKeys("ctrl+a"),
        TypeText(f"new {HANDLE}\n\u6f22 \u00e9"),
        PressKeys("ctrl+s", hold_s=0.1),
        ScrollWheel(at_x, at_y, 3),
        DragPointer(at_x, at_y, at_x + 40, at_y + 4),
        MovePointer(7, 9),
        WaitForDesktop(0.1),
    ):
        assert (await act(step)).ok, step
    assert await desk.pointer() == (7, 9)
    await play(desk, [{"shows": 'frame "/user/pin.txt - Mousepad'}])
    assert (tmp_path / "user" / "pin.txt").read_text() == f"new {SECRET}\n\u6f22 \u00e9"

    for wrong, why in (
        (ClickPointer(desk.width, 5), "not on the screen"),
        (PressKeys("ctrl+frobnicate"), "No such key name"),
        (LaunchProgram(("no-such-program",)), "cannot be started"),
        (ListSkills(), "wired wrongly"),
    ):
        with pytest.raises(ProviderError) as caught:
            await provider.perform(wrong, permit(wrong))
        assert why in str(caught.value)
    with pytest.raises(ProviderError):
        await provider.perform(MovePointer(1, 1), permit(MovePointer(1, 2)))
    with pytest.raises(ProviderError):
        provider.read_picture("desktop:../../etc/passwd.png")
    assert await provider.inspect(TypeText("a")) is Found.UNKNOWN
    assert await provider.inspect(LookAtDesktop()) is Found.NOT_DONE


async def test_where_the_programs_are_missing_the_packages_are_named(world: World):
    async def runs(
        argv: Sequence[str], *, env: Mapping[str, str], stdin: bytes, timeout_s: float
    ) -> CommandResult:
        return await world.run(
            argv, cwd="/user", env={**env, "PATH": "/nonexistent"}, stdin=stdin, timeout_s=timeout_s
        )

    with pytest.raises(ProviderError) as caught:
        await Desk(runs).look()
    assert "Xvfb" in str(caught.value)
    assert "apt-get install xvfb openbox" in str(caught.value)


def test_what_is_missing_is_told_as_packages(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    assert {"xvfb", "openbox", "xdotool", "dbus"} <= set(missing_packages())


def test_a_window_whose_title_holds_a_secret_has_its_title_black_and_no_tree_is_said():
    seen = Seen((Window(1, f"{SECRET} - Editor", (10, 50, 200, 100), True),), no_tree="no Atspi")
    assert masked(seen, lambda text: text.replace(SECRET, HANDLE)) == [(10, 26, 200, 24)]
    assert told(seen, 1000).splitlines()[1] == "[no accessibility tree: no Atspi]"


@pytest.mark.parametrize(
    "make",
    [
        lambda: MovePointer(-1, 0),
        lambda: MovePointer(0, 16_384),
        lambda: ClickPointer(1, 1, count=4),
        lambda: ClickPointer(1, 1, keys="ctrl+;rm"),
        lambda: ScrollWheel(1, 1),
        lambda: ScrollWheel(1, 1, 51),
        lambda: TypeText(""),
        lambda: TypeText("a\x1b[201~"),
        lambda: TypeText("a" * 10_001),
        lambda: TypeText("\ud800"),
        lambda: PressKeys("ctrl+"),
        lambda: PressKeys("--file"),
        lambda: PressKeys("a", hold_s=float("nan")),
        lambda: WaitForDesktop(0),
        lambda: WaitForDesktop(60.1),
        lambda: LaunchProgram(()),
        lambda: LaunchProgram(("a\0b",)),
    ],
)
def test_an_act_that_cannot_be_meant_is_refused_where_it_is_born(make: Callable[[], Action]):
    with pytest.raises(InvalidAction):
        make()


def test_the_bounds_themselves_are_taken_and_every_act_survives_its_json():
    acts: list[Action] = [
        MovePointer(16_383, 0), ClickPointer(1, 1, "right", 3, "ctrl+shift"), ScrollWheel(1, 1, 50),
        TypeText("\t\n" + "a" * 9_998), PressKeys("Return", hold_s=10), WaitForDesktop(60),
        LaunchProgram(("xterm",)), LookAtDesktop(picture=True), DragPointer(1, 2, 3, 4),
    ]  # fmt: skip
    assert [from_json(to_json(act)) for act in acts] == acts
    assert {act.kind for act in acts} == DESKTOP_KINDS


def test_a_secret_is_typed_only_where_a_rule_says_so():
    act = TypeText(HANDLE)
    assert not allows_secret(builtin_policy(), "PIN", "file:a", act)
    law = parse("agent: {desktop: allow, secrets: [{name: PIN, from: [file], to: [desktop.type]}]}")
    assert allows_secret(law, "PIN", "file:a", act)
    assert not allows_secret(law, "PIN", "env:a", act)
