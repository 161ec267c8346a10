import http.server
import sys
import threading
import time

busy = threading.Lock()
port = int(sys.argv[1])


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if not busy.acquire(blocking=False):
            self.send_error(503, "two at once")
            return
        try:
            time.sleep(0.1)
            body = self.path.encode()
            self.send_response(200)
            self.send_header("X-Worker", str(port))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        finally:
            busy.release()

    def log_message(self, *args):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
