cd /app
cat > server.py <<'PY'
import http.server

kept = {}


class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self, status, body=b""):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path == "/health":
            return self.answer(200, b"ok")
        found = kept.get(self.path)
        return self.answer(404) if found is None else self.answer(200, found)

    def do_PUT(self):
        size = int(self.headers.get("Content-Length", 0))
        if size > 65536:
            self.rfile.read(size)
            return self.answer(413)
        kept[self.path] = self.rfile.read(size)
        return self.answer(204)

    def do_DELETE(self):
        return self.answer(404 if kept.pop(self.path, None) is None else 204)

    def log_message(self, *args):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", 8400), Handler).serve_forever()
PY
setsid python3 server.py >/dev/null 2>&1 < /dev/null &
for i in $(seq 100); do python3 -c "import urllib.request as u; u.urlopen('http://127.0.0.1:8400/health')" 2>/dev/null && break; sleep 0.1; done
