"""Renders a profile page."""

from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, urlsplit


def render(name: str, about: str, site: str) -> str:
    """The page of a person; `site` is shown as a link."""
    return (
        "<html><body><h1>" + name + "</h1>"
        f"<p>{about}</p>"
        f'<a href="{site}">{site}</a></body></html>'
    )


class Handler(BaseHTTPRequestHandler):
    """Serves profiles."""

    def do_GET(self):
        """Answer GET /?name=..."""
        query = parse_qs(urlsplit(self.path).query)
        first = {key: values[0] for key, values in query.items()}
        page = render(first.get("name", ""), first.get("about", ""), first.get("site", ""))
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(page.encode())
