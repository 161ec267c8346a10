import time
import urllib.request

for _ in range(40):
    try:
        with urllib.request.urlopen("http://127.0.0.1:8410/", timeout=10) as answer:
            found = answer.read()
        break
    except OSError:
        time.sleep(0.2)
else:
    raise SystemExit("nobody answers")
assert found == b"hello there 2", found
