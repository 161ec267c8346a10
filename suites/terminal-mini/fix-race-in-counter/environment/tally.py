"""Words of several files, counted by threads."""

import threading
import time

totals = {}


def _add(word, seen):
    before = totals.get(word, 0)
    time.sleep(0)
    totals[word] = before + seen


def _read(path):
    counts = {}
    with open(path) as file:
        for word in file.read().split():
            counts[word] = counts.get(word, 0) + 1
    for word, seen in counts.items():
        _add(word, seen)


def count(paths):
    """word -> how often it stands in all the files"""
    totals.clear()
    threads = [threading.Thread(target=_read, args=(path,)) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return dict(totals)
