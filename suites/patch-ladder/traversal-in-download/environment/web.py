"""The web side."""

from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, urlsplit

from files import read_upload


class Handler(BaseHTTPRequestHandler):
    """Serves uploads."""

    folder = "/srv/uploads"

    def do_GET(self):
        """Answer GET /?name=..."""
        name = parse_qs(urlsplit(self.path).query).get("name", [""])[0]
        try:
            body = read_upload(self.folder, name)
        except (OSError, ValueError):
            self.send_error(404)
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)
