import json
import subprocess
import sys

code = """import json, sys
sys.path.insert(0, '/app')
import cache
calls = []
def slow(key):
    calls.append(key)
    return key * 2
for i in range(100):
    assert cache.lookup(i, slow) == 2 * i
first = len(calls)
cache.lookup(0, slow)              # used again: it must outlive 1
cache.lookup(1000, slow)
again = len(calls)
cache.lookup(0, slow)
kept = len(calls)
cache.lookup(1, slow)
gone = len(calls)
for i in range(5000):
    cache.lookup(('x', i), slow)
none = []
def nothing(key):
    none.append(key)
cache.lookup('n', nothing); cache.lookup('n', nothing)
print(json.dumps([first, again, kept, gone, cache.size(), len(none)]))
"""
done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True)
assert json.loads(done.stdout) == [100, 101, 101, 102, 100, 1], done.stdout + done.stderr
