"""A small HTTP service: python3 svc.py NAME PORT. It notes every start, and obeys its configuration."""

import http.server
import json
import os
import pathlib
import sys
import time

name, port = sys.argv[1], int(sys.argv[2])
here = pathlib.Path("/app/services") / name
with open(here / "starts", "a") as file:
    file.write(f"{time.time()}\n")
(here / "svc.pid").write_text(str(os.getpid()))
log = open(here / "svc.log", "a", buffering=1)
try:
    config = json.loads((here / "config.json").read_text())
except ValueError as error:
    log.write(f"ERROR config.json does not parse: {error}\n")
    sys.exit(2)
if config.get("needs") and not os.path.exists(config["needs"]):
    log.write(f"ERROR cannot reach {config['needs']}: connection refused\n")
    sys.exit(3)
log.write(f"listening on {port}\n")


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *args):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
