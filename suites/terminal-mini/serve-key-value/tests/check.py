import concurrent.futures
import socket
import time
import urllib.error
import urllib.request


def ask(method, path, body=None):
    request = urllib.request.Request(f"http://127.0.0.1:8400{path}", data=body, method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, b""


for _ in range(40):
    try:
        if ask("GET", "/health") == (200, b"ok"):
            break
    except OSError:
        pass
    time.sleep(0.2)
else:
    raise SystemExit("nobody answers /health")
assert ask("GET", "/k/none")[0] == 404 and ask("DELETE", "/k/none")[0] == 404
assert ask("PUT", "/k/a", b"one")[0] == 204 and ask("GET", "/k/a") == (200, b"one")
assert ask("PUT", "/k/a", b"\x00\xff two")[0] == 204 and ask("GET", "/k/a") == (200, b"\x00\xff two")
assert ask("DELETE", "/k/a")[0] == 204 and ask("GET", "/k/a")[0] == 404
assert ask("PUT", "/k/big", b"x" * 65536)[0] == 204
try:
    assert ask("PUT", "/k/big", b"x" * 65537)[0] == 413
except (ConnectionError, urllib.error.URLError):
    pass
idle = [socket.create_connection(("127.0.0.1", 8400), timeout=20) for _ in range(3)]
with concurrent.futures.ThreadPoolExecutor(8) as pool:
    assert set(pool.map(lambda i: ask("PUT", f"/k/n{i}", str(i).encode())[0], range(80))) == {204}
assert all(ask("GET", f"/k/n{i}") == (200, str(i).encode()) for i in range(80))
