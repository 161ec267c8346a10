import collections
import json
import pathlib
import random
import subprocess
import sys
import tempfile

dice = random.Random(3)
with tempfile.TemporaryDirectory() as folder:
    paths, right = [], collections.Counter()
    for number in range(40):
        words = [f"w{dice.randint(0, 30)}" for _ in range(300)]
        right.update(words)
        path = pathlib.Path(folder, f"{number}.txt")
        path.write_text(" ".join(words))
        paths.append(str(path))
    code = """import json, sys, threading, builtins
sys.path.insert(0, '/app')
sys.setswitchinterval(1e-6)
import time
real = time.sleep
time.sleep = lambda s: real(max(s, 0.0002))
import tally
seen = set()
opened = builtins.open
def watched(*a, **k):
    seen.add(threading.get_ident())
    return opened(*a, **k)
builtins.open = watched
paths = json.load(sys.stdin)
print(json.dumps([[tally.count(paths) for _ in range(3)], len(seen)]))
"""
    done = subprocess.run([sys.executable, "-I", "-c", code], input=json.dumps(paths), capture_output=True, text=True)
    found, threads = json.loads(done.stdout)
assert all(one == right for one in found), "the totals differ"
assert threads > 1, "only one thread reads"
