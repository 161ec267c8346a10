import concurrent.futures
import os
import signal
import time
import urllib.error
import urllib.request


def ask(number):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:8420/x{number}", timeout=60) as answer:
            return answer.status, answer.read().decode(), answer.headers.get("X-Worker")
    except urllib.error.HTTPError as error:
        return error.code, "", ""


for _ in range(40):
    try:
        if ask(0)[0] == 200:
            break
    except OSError:
        pass
    time.sleep(0.2)
else:
    raise SystemExit("nobody answers")
with concurrent.futures.ThreadPoolExecutor(12) as pool:
    found = list(pool.map(ask, range(48)))
assert [f[:2] for f in found] == [(200, f"/x{i}") for i in range(48)], [f for f in found if f[0] != 200][:3]
assert {f[2] for f in found} == {"8421", "8422", "8423"}
dead = 0
for entry in os.listdir("/proc"):
    if entry.isdigit():
        try:
            words = open(f"/proc/{entry}/cmdline", "rb").read().split(b"\0")
        except OSError:
            continue
        if b"8422" in words and any(w.endswith(b"worker.py") for w in words):
            os.kill(int(entry), signal.SIGKILL)
            dead += 1
assert dead, "worker 8422 was not found"
with concurrent.futures.ThreadPoolExecutor(8) as pool:
    found = list(pool.map(ask, range(24)))
assert [f[0] for f in found] == [200] * 24 and {f[2] for f in found} == {"8421", "8423"}, found[:5]
