"""How is a client program run against a gateway of ours, for a check that the operator asked for?"""

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from subprocess import DEVNULL, PIPE

from veilig.core.errors import ProviderError

OUTPUT_BYTES_MAX = 4 << 20


async def run_client(
    argv: Sequence[str], *, folder: Path, environment: Mapping[str, str], limit_s: float
) -> str:
    """What it prints, whatever its exit code. Raises ProviderError when it cannot start or does not end."""
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=DEVNULL,
            cwd=folder,
            env=dict(environment),
            start_new_session=True,
        )
    except OSError as error:
        raise ProviderError(f"{argv[0]} cannot be run", why=error.strerror or str(error)) from error
    assert process.stdout is not None, "it was opened with a pipe"
    try:
        async with asyncio.timeout(limit_s):
            said = b""
            while len(said) < OUTPUT_BYTES_MAX and (part := await process.stdout.read(1 << 16)):
                said += part
            await process.wait()
    except TimeoutError as error:
        raise ProviderError(f"{argv[0]} did not end", why=f"within {limit_s:.0f} s") from error
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    return said.decode("utf-8", "replace")
