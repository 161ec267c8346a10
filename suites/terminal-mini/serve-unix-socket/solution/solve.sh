cd /app
cat > calc.py <<'PY'
import json
import socketserver

OPS = {"add": lambda a, b: a + b, "mul": lambda a, b: a * b, "div": lambda a, b: a / b}


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            known = None
            try:
                given = json.loads(line)
                known = given.get("id")
                answer = {"id": known, "result": OPS[given["op"]](given["a"], given["b"])}
            except Exception as error:
                answer = {"id": known, "error": repr(error)}
            self.wfile.write(json.dumps(answer).encode() + b"\n")


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


Server("/app/run/calc.sock", Handler).serve_forever()
PY
setsid python3 calc.py >/dev/null 2>&1 < /dev/null &
for i in $(seq 100); do [ -S run/calc.sock ] && break; sleep 0.1; done
