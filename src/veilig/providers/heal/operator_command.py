"""How is a command of the operator's services file run once? As it stands there, without a shell of ours."""

import asyncio
import os
import signal
from collections.abc import Mapping
from subprocess import DEVNULL, PIPE, STDOUT

from veilig.core.errors import ProviderError
from veilig.core.service import Service

OUTPUT_BYTES = 2000  # of its last words, for people


async def run_once(service: Service, environment: Mapping[str, str], limit_s: float) -> str:
    """The last words of `service.cmd`. Raises ProviderError when it fails or takes longer than `limit_s`."""
    try:
        process = await asyncio.create_subprocess_exec(
            *service.cmd,
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=STDOUT,
            cwd=service.folder or "/",
            env={**environment, **dict(service.env)},
            start_new_session=True,
        )
    except OSError as error:
        raise ProviderError(f"{service.cmd[0]} cannot be run", why=error.strerror or str(error)) from error
    words = asyncio.create_task(_words(process))
    try:
        async with asyncio.timeout(limit_s):
            code = await process.wait()
    except TimeoutError as error:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        raise ProviderError(
            f"the command of {service.name} did not end", why=f"within {limit_s:.0f} s"
        ) from error
    finally:
        # What it started may keep its output open for ever: what was said until now is enough.
        await asyncio.wait({words}, timeout=0.2)
        words.cancel()
    said = words.result() if words.done() and not words.cancelled() else ""
    if code != 0:
        raise ProviderError(f"the command of {service.name} ended with {code}", why=said)
    return said


async def _words(process: asyncio.subprocess.Process) -> str:
    last = b""
    assert process.stdout is not None, "it was opened with a pipe"
    while part := await process.stdout.read(4096):
        last = (last + part)[-OUTPUT_BYTES:]
    return last.decode("utf-8", "replace").strip()
