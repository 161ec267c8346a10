"""What happens after a login."""

from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, urlsplit


def target(wanted: str) -> str:
    """Where to go after a login: the page that was wanted, else the front page."""
    return wanted or "/"


class Handler(BaseHTTPRequestHandler):
    """Signs people in."""

    def do_GET(self):
        """Answer GET /login?next=..."""
        wanted = parse_qs(urlsplit(self.path).query).get("next", [""])[0]
        self.send_response(302)
        self.send_header("Location", target(wanted))
        self.end_headers()
