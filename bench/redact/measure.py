"""What does the redactor find, touch by mistake and leak, and how fast is it? (see README.md)"""

import argparse
import importlib.util
import json
import random
import sys
import time
import uuid
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

from veilig.core.redact import Redactor, find

SEED = 3
LOG_LINES = 12_000
WORDS = (
    "INFO DEBUG request handled by worker-3 in 12.4 ms path=/api/v1/items/482 status=200 user=anna pool size"
    " tests/test_cart.py::test_total PASSED /usr/lib/python3.12/asyncio/base_events.py line 642"
    " id=d48c420a-ad7d-4d7b-b996-380d2e839d3d key= token"
)
ALPHABET = "abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ0123456789/+"


def load(path: Path) -> Any:
    """The module in file `path`; it is run, so give only files that you trust."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"cannot load {path}")
    module: ModuleType = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def score(data: Path, scorer: Any) -> None:
    """Hit, cover and false positives on the labelled items, without knowing any of the values."""
    items = list(scorer.load(data))
    spans = {item["id"]: [[s.start, s.end] for s in find(item["text"])] for item in items}
    scorer.show(scorer.score(items, spans))


def attack(cases: Any, seed: int) -> None:
    """Leaking cases by kind, when the redactor knows the five secrets."""

    def make(secrets: list[str]) -> object:
        redactor = Redactor(b"k" * 32)
        for number, secret in enumerate(secrets):
            redactor.mark(secret, f"S{number}")
        return redactor.stream()

    leaking: Counter[str]
    leaking, total = cases.run(make, seed)
    kinds = {kind: n for kind, n in leaking.items() if n}
    print(f"attacks, seed {seed}: {sum(kinds.values())} of {total} cases leak, {json.dumps(kinds)}")


def speed() -> None:
    """Megabytes per second of CPU on log-like text without secrets, by number of known secrets."""
    dice = random.Random(SEED)
    words = WORDS.split()
    lines: list[str] = []
    for number in range(LOG_LINES):
        # What real logs have and a list of words has not: a time and an id that stand nowhere else.
        stamp = f"2026-11-21T{number // 3600:02d}:{number // 60 % 60:02d}:{number % 60:02d}.{number:06d}Z"
        unique = f"request={uuid.UUID(int=dice.getrandbits(128))}"
        lines.append(" ".join((stamp, unique, *(dice.choice(words) for _ in range(12)))))
    text = "\n".join(lines)
    data = text.encode()
    for count in (0, 1, 100, 1000):
        redactor = Redactor(b"k" * 32)
        begin = time.process_time()
        for number in range(count):
            redactor.mark("".join(dice.choice(ALPHABET) for _ in range(40)), f"S{number}")
        redactor.seal("-")  # what was learnt is taken in at the first look
        built_s, begin = time.process_time() - begin, time.process_time()
        redactor.seal(text)
        whole_s, begin = time.process_time() - begin, time.process_time()
        stream = redactor.stream()
        for at in range(0, len(data), 4096):
            stream.feed(data[at : at + 4096])
        stream.flush()
        stream_s = time.process_time() - begin
        waits_ms = sorted(waited(redactor, data))
        rates = f"seal {len(data) / whole_s / 1e6:5.1f} MB/s, stream {len(data) / stream_s / 1e6:5.1f} MB/s"
        p50_ms, p99_ms = waits_ms[len(waits_ms) // 2], waits_ms[len(waits_ms) * 99 // 100]
        late = f"added per 1 KiB p50 {p50_ms:.2f}, p99 {p99_ms:.2f} ms"
        print(f"{count:5d} known secrets: built in {built_s:.2f} s, {rates}, {late}")


def waited(redactor: Redactor, data: bytes) -> list[float]:
    """Milliseconds of the clock that a stream takes for each KiB before it gives something out."""
    stream, found = redactor.stream(), list[float]()
    for at in range(0, min(len(data), 1 << 20), 1024):
        begin = time.perf_counter()
        stream.feed(data[at : at + 1024])
        found.append((time.perf_counter() - begin) * 1000)
    return found


def main() -> None:
    """Print every figure whose input is given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="labelled items, JSON lines")
    parser.add_argument("--scorer", type=Path, help="score.py for these items")
    parser.add_argument("--attacks", type=Path, help="attack_cases.py")
    parser.add_argument("--seeds", type=int, nargs="+", default=[9, 10, 11])
    args = parser.parse_args()
    if args.data and args.scorer:
        score(args.data, load(args.scorer))
    if args.attacks:
        cases = load(args.attacks)
        for seed in args.seeds:
            attack(cases, seed)
    speed()


if __name__ == "__main__":
    main()
