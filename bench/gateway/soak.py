"""Does the gateway grow? So many requests, no two alike, with its resident memory on the way.

    .venv/bin/python bench/gateway/soak.py YARDSTICK [--requests 100000] [--concurrency 16]

Half are streamed; they come from 200 end users in 4,000 conversations; every fiftieth carries an indicator:
signals, the ladder and the ledger take part. YARDSTICK as for compare.py (its upstream.py is used).
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from compare import prepare

UPSTREAM, GATEWAY = 9100, 9102
MARKS = (1_000, 5_000, 10_000, 25_000, 50_000, 75_000, 100_000)


def request(n: int, key: str) -> bytes:
    words = " ".join(f"item {(n * 7919 + i) % 100_003}" for i in range(120))
    named = " bad000042-host.test" if n % 50 == 0 else ""
    body = {
        "model": "gpt-fake", "stream": bool(n % 2), "safety_identifier": f"user-{n % 200}",
        "messages": [{"role": "user", "content": f"please sort {words}{named}"}],
    }  # fmt: skip
    raw = json.dumps(body).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer {key}\r\nsession-id: s{n % 4000}\r\ncontent-length: {len(raw)}\r\n\r\n"
    )
    return head.encode() + raw


async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes) -> int:
    """The status."""
    writer.write(data)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    if b"transfer-encoding: chunked" in head:
        while size := int((await reader.readline()).split(b";")[0], 16):
            await reader.readexactly(size + 2)
        await reader.readline()
    else:
        await reader.readexactly(int(head.split(b"content-length:")[1].split(b"\r\n")[0]))
    return int(head[9:12])


def rss_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / 1e6


async def soak(key: str, pid: int, total: int, concurrency: int) -> dict[int, int]:
    numbers = iter(range(total))
    statuses: dict[int, int] = {}
    done = 0
    began = time.monotonic()

    async def worker() -> None:
        nonlocal done
        reader, writer = await asyncio.open_connection("127.0.0.1", GATEWAY, limit=1 << 20)
        for n in numbers:
            status = await one(reader, writer, request(n, key))
            statuses[status] = statuses.get(status, 0) + 1
            done += 1
            if done in MARKS or done == total:
                took = time.monotonic() - began
                print(f"{done:>7} requests   {rss_mb(pid):6.1f} MB   {took:6.0f} s", flush=True)
        writer.close()

    await asyncio.gather(*(worker() for _ in range(concurrency)))
    return statuses


async def listening(port: int) -> None:
    for _ in range(600):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.1)
            continue
        writer.close()
        return
    raise SystemExit(f"nothing listens at {port}")


def main() -> None:
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("yardstick", type=Path)
    given.add_argument("--requests", type=int, default=100_000)
    given.add_argument("--concurrency", type=int, default=16)
    options = given.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        key = prepare(Path(scratch))
        upstream = subprocess.Popen([sys.executable, str(options.yardstick / "upstream.py"), str(UPSTREAM)])
        words = ["-m", "veilig.cli.main", "gateway", "--listen", f"127.0.0.1:{GATEWAY}"]
        gateway = subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL)
        try:
            asyncio.run(listening(UPSTREAM))
            asyncio.run(listening(GATEWAY))
            print(f"      0 requests   {rss_mb(gateway.pid):6.1f} MB")
            said = asyncio.run(soak(key, gateway.pid, options.requests, options.concurrency))
            print(f"statuses {said}")
        finally:
            gateway.terminate()
            gateway.wait(60)
            upstream.terminate()


if __name__ == "__main__":
    main()
