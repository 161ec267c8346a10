cd /app
cat > balancer.py <<'PY'
import http.server
import queue
import threading
import time
import urllib.request

free = queue.Queue()
for port in (8421, 8422, 8423):
    free.put(port)


def later(port):
    time.sleep(1)
    free.put(port)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        while True:
            port = free.get()
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}{self.path}", timeout=30) as answer:
                    body, worker = answer.read(), answer.headers["X-Worker"]
            except OSError:
                threading.Thread(target=later, args=(port,), daemon=True).start()
                continue
            time.sleep(0.02)
            free.put(port)
            break
        self.send_response(200)
        self.send_header("X-Worker", worker)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128


Server(("127.0.0.1", 8420), Handler).serve_forever()
PY
for port in 8421 8422 8423; do setsid python3 worker.py $port >/dev/null 2>&1 < /dev/null & done
setsid python3 balancer.py >/dev/null 2>&1 < /dev/null &
for i in $(seq 100); do python3 -c "import urllib.request as u; u.urlopen('http://127.0.0.1:8420/')" 2>/dev/null && break; sleep 0.1; done
