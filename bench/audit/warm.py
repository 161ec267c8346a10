"""How much of a tree is judged again after five changed files? `warm.py FOLDER [SEED ...]`"""

import random
import resource
import sys
import threading
import time
from pathlib import Path

from veilig.audit.collect import collect
from veilig.audit.memory import Memory
from veilig.audit.options import ScanConfig
from veilig.audit.programs import scan_tree

CONFIG = ScanConfig(today="2026-11-21")
ADDED = "\n\ndef added_by_me(x):\n    return x + 1\n"


def audit(files: dict[str, str], text: str, label: str) -> str:
    """One audit with this memory; the memory afterwards."""
    started = time.process_time()
    memory = Memory(text)
    scan_tree(files, CONFIG, memory)
    text = memory.to_text()
    cpu_s = time.process_time() - started
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"{label}: {cpu_s:.2f} CPU s, {memory.recalled} of {len(files)} files kept,", end=" ")
    print(f"memory {len(text) // 1000} kB, peak {peak_mb} MB", flush=True)
    return text


def main() -> None:
    """Cold, unchanged, and with five files changed for each seed."""
    files = collect(Path(sys.argv[1])).files
    print(f"{len(files)} files, {sum(text.count('\n') for text in files.values()) / 1000:.0f} KLOC")
    text = audit(files, "", "cold")
    audit(files, text, "unchanged")
    for seed in sys.argv[2:] or ["1", "2", "3"]:
        paths = random.Random(int(seed)).sample(sorted(files), 5)
        changed = {path: files[path] + ADDED for path in paths}
        audit({**files, **changed}, text, f"five files, seed {seed}")


if __name__ == "__main__":
    sys.setrecursionlimit(6_000)  # as the worker does
    threading.stack_size(64 << 20)
    thread = threading.Thread(target=main)
    thread.start()
    thread.join()
