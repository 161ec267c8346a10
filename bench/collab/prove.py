"""How long does the page wait for proofs in a long session? One, 500 at once, and after one more event.

python bench/collab/prove.py [EVENTS]
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from veilig.core.ledger import Draft, Ledger

EVENTS = 100_000
BATCH = 1000
AT_ONCE = 500  # what the page asks in one request


def took_ms(act: Callable[[], object]) -> float:
    """Milliseconds of the clock."""
    begin = time.perf_counter()
    act()
    return (time.perf_counter() - begin) * 1000


def comment(number: int) -> Draft:
    """One small event of the session."""
    return Draft("comment.added", "s1", {"text": str(number), "person": "a", "anchor": 0})


def main() -> None:
    """Fill a ledger of our own and ask it."""
    events = int(sys.argv[1]) if len(sys.argv) > 1 else EVENTS
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Ledger.open(folder / "ledger.db", anchor_dir=folder / "anchors") as ledger:
            for start in range(0, events, BATCH):
                ledger.append([comment(start + n) for n in range(min(BATCH, events - start))], durable=False)
            print(f"{events:,} events of one session")
            print(f"first proof after they were written {took_ms(lambda: ledger.prove(5)):8.2f} ms")
            every = max(1, events // 100)
            each = sorted(took_ms(lambda seq=seq: ledger.prove(seq)) for seq in range(1, events, every))
            print(f"each of 100, p50 and worst          {each[len(each) // 2]:8.2f} {each[-1]:8.2f} ms")
            many = list(range(1, min(AT_ONCE, events) + 1))
            print(
                f"{len(many)} under one root              {took_ms(lambda: ledger.prove_all(many)):12.2f} ms"
            )
            size = ledger.append([comment(events)])[-1].seq
            print(f"after one more event                {took_ms(lambda: ledger.prove(size)):8.2f} ms")
            old = min(AT_ONCE, events)
            begins = took_ms(lambda: ledger.prove_consistency(old, size))
            print(f"that {old} events are its beginning  {begins:9.2f} ms")


if __name__ == "__main__":
    main()
