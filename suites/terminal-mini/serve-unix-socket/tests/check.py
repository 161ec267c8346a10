import json
import socket
import time

for _ in range(40):
    try:
        one = socket.socket(socket.AF_UNIX)
        one.connect("/app/run/calc.sock")
        break
    except OSError:
        time.sleep(0.2)
else:
    raise SystemExit("nobody listens")
two = socket.socket(socket.AF_UNIX)
two.connect("/app/run/calc.sock")
two.settimeout(30)
one.settimeout(30)
one.sendall(b'{"id": 1, "op": "add", "a": 2, "b": 3}\n{"id": 2, "op": "di')
two.sendall(b'nonsense\n[1]\n{"id": 9, "op": "mul", "a": 4, "b": 0.5}\n')
lines = two.makefile()
assert [("error" in json.loads(lines.readline())) for _ in range(2)] == [True, True]
assert json.loads(lines.readline()) == {"id": 9, "result": 2.0}
one.sendall(b'v", "a": 1, "b": 0}\n{"id": 3, "op": "pow", "a": 1, "b": 0}\n{"id": 4, "op": "div", "a": 9, "b": 3}\n{"id": 5, "op": "add", "a": 1}\n')
lines = one.makefile()
found = [json.loads(lines.readline()) for _ in range(5)]
assert [f["id"] for f in found] == [1, 2, 3, 4, 5]
assert [("error" in f) for f in found] == [False, True, True, False, True]
assert found[0]["result"] == 5 and found[3]["result"] == 3
