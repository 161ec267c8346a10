"""`veilig broker`: the process that alone may touch services, as a user of its own."""

import argparse
import asyncio
import contextlib
import os
import pwd
import signal
import stat
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from veilig.core.errors import EXIT_OK, UsageError

KEY_CHARS = 64  # 32 bytes in hex


def options(parser: argparse.ArgumentParser) -> None:
    """What `broker` takes."""
    parser.description = (
        "Hold the keepers of services and act for healers of other users (`veilig heal --broker SOCKET`). "
        "Before an act it checks the signature, the deadline, its own reading of the policy, its count of "
        "starts, the kill switch and the lease. Run it as the user that may touch the services; the healer "
        "needs none of its rights. Good states of files are read below VEILIG_HOME, where the healer records "
        "them."
    )
    parser.add_argument("--socket", required=True, metavar="PATH", help="where healers connect")
    parser.add_argument(
        "--services", required=True, metavar="FILE", help="what runs where, as the healer has it"
    )
    parser.add_argument(
        "--policy", default="", metavar="FILE", help="the operator's policy, read by the broker"
    )
    parser.add_argument(
        "--key",
        required=True,
        metavar="FILE",
        help="64 hex digits that healer and broker share: openssl rand -hex 32",
    )
    parser.add_argument(
        "--user",
        action="append",
        default=[],
        metavar="NAME",
        help="who may connect (default: who runs the broker)",
    )
    parser.add_argument("--act", action="store_true", help="act where the policy file states no mode")
    parser.add_argument("--readonly", action="store_true", help="look only, whatever the policy says")


def run(given: argparse.Namespace) -> int:
    """Exit 0 when stopped, 2 wrong use, 4 refused."""
    from veilig.app.broker import stand

    users = frozenset(_uid(name) for name in given.user) or frozenset({os.getuid()})
    standing = stand(
        Path(given.socket).absolute(),
        services=str(Path(given.services).resolve()),
        policy=str(Path(given.policy).absolute()) if given.policy else "",
        key=read_key(given.key),
        users=users,
        act=given.act,
        readonly=given.readonly,
    )
    asyncio.run(_until_stopped(standing))
    return EXIT_OK


def read_key(given: str) -> str:
    """The key in the file `given`, in hex. Raises UsageError when there is none, or others may read it."""
    place = Path(given).expanduser()
    fix = f"umask 027; openssl rand -hex 32 > {given or 'FILE'}"
    try:
        text, mode = place.read_text(encoding="ascii").strip(), place.stat().st_mode
        good = len(bytes.fromhex(text)) * 2 >= KEY_CHARS
    except (OSError, ValueError) as error:
        raise UsageError(f"there is no key in {given!r}", why=str(error), fix=fix) from error
    if not good:
        raise UsageError(f"the key in {given!r} is too short", why=f"{KEY_CHARS} hex digits", fix=fix)
    if mode & (stat.S_IROTH | stat.S_IWOTH | stat.S_IWGRP):
        raise UsageError(
            f"others may read or change {given!r}", why="who has it may act", fix=f"chmod 640 {given}"
        )
    return text


def _uid(name: str) -> int:
    try:
        return int(name) if name.isdecimal() else pwd.getpwnam(name).pw_uid
    except KeyError as error:
        raise UsageError(f"there is no user {name!r}", fix="name one of this machine") from error


async def _until_stopped(work: Coroutine[Any, Any, None]) -> None:
    """SIGTERM and SIGINT end it cleanly; an act that has begun is finished."""
    task = asyncio.create_task(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task
