"""Does a secret leak when a stream is asked for what is late between any two chunks? (see README.md)

    python bench/redact/timers.py --attacks attack_cases.py [--seeds 9 10 11]

The attack list lies outside the repository. The clock is turned by hand, so nothing waits.
"""

import argparse
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measure import load

from veilig.core.redact import Redactor
from veilig.core.redact_stream import StreamRedactor

SHORT_S, LONG_S = 0.25, 2.5  # just past the two waits of a stream
WHEN: dict[str, tuple[float, ...]] = {  # how long a chunk is waited for: one of these
    "no timer": (0.0,),
    f"after {SHORT_S} s": (SHORT_S,),
    f"after {LONG_S} s, twice": (LONG_S,),
    "at random": (0.0, 0.1, SHORT_S, LONG_S),
}


class Dial:
    """A clock that is turned by hand."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def streamed(secrets: list[str], chunks: list[bytes], wait: Callable[[], float]) -> bytes:
    """What a viewer has in the end, when the timer fires after every chunk."""
    redactor = Redactor(b"k" * 32)
    for number, secret in enumerate(secrets):
        redactor.mark(secret, f"S{number}")
    dial = Dial()
    stream, shown = StreamRedactor(redactor, dial), b""
    for chunk in chunks:
        shown += stream.feed(chunk)
        dial.now_s += wait()
        shown += stream.late()
        shown += stream.late()  # the second look may show more than the first
    return shown + stream.flush()


def run(cases: Any, seed: int, when: str) -> tuple[Counter[str], int]:
    """Leaking cases by kind, and how many there are."""
    dice, leaking, total = random.Random(seed), Counter[str](), 0
    known = cases.secrets(seed)
    for name, chunks, secret in cases.cases(seed):
        shown = streamed(known, chunks, lambda: dice.choice(WHEN[when]))
        total += 1
        leaking[name.split("/")[0]] += bool(cases.leaks(name, chunks, secret, shown))
    return +leaking, total


def main() -> None:
    """A line for each seed and way to fire."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--attacks", type=Path, required=True, help="attack_cases.py")
    parser.add_argument("--seeds", type=int, nargs="+", default=[9, 10, 11])
    args = parser.parse_args()
    cases = load(args.attacks)
    for seed in args.seeds:
        for when in WHEN:
            leaking, total = run(cases, seed, when)
            print(f"seed {seed}, {when:20} {leaking.total():3d} of {total} leak {dict(leaking)}")


if __name__ == "__main__":
    main()
