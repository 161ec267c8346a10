import http.server
import json
import os
import pathlib
import sys

config = json.loads(pathlib.Path(os.environ["APP_CONFIG"]).read_text())
templates = sorted(pathlib.Path(config["templates"]).glob("*.html"))
if not templates:
    sys.exit("no templates")
port = int(config["port"])


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"{config['greeting']} {len(templates)}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
