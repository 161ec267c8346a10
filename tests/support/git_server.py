"""A git server on this machine: git's own http-backend, which may ask for a token or send elsewhere."""

import os
import subprocess
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

IDENTITY = ("-c", "user.name=Ann", "-c", "user.email=ann@example.org")


def commit(folder: Path, message: str = "work") -> str:
    """Everything in the folder as a commit of its repository, which is made when missing; its id."""
    if not (folder / ".git").exists():
        git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "-A")
    git(folder, *IDENTITY, "commit", "-q", "--allow-empty", "-m", message)
    return git(folder, "rev-parse", "HEAD").strip()


def git(folder: Path, *words: str) -> str:
    """What git says."""
    return subprocess.run(
        ["git", "-C", str(folder), *words], check=True, capture_output=True, text=True
    ).stdout


class GitServer:
    """`root` holds the repositories. token: what is asked for; elsewhere: where everybody is sent."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.token = ""
        self.elsewhere = ""
        self.headers: list[dict[str, str]] = []
        self.url = ""

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """One request of git."""
        self.headers.append(dict(request.headers))
        if self.elsewhere:
            request.send_response(302)
            request.send_header("Location", f"{self.elsewhere}{request.path}")
            request.end_headers()
            return
        if self.token and self.token not in request.headers.get("Authorization", ""):
            request.send_response(401)
            request.send_header("WWW-Authenticate", "Basic")
            request.end_headers()
            return
        parts = urlsplit(request.path)
        body = request.rfile.read(int(request.headers.get("Content-Length", "0")))
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": parts.path,
            "QUERY_STRING": parts.query,
            "REQUEST_METHOD": request.command,
            "CONTENT_TYPE": request.headers.get("Content-Type", ""),
            "HTTP_CONTENT_ENCODING": request.headers.get("Content-Encoding", ""),
            "HTTP_GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
            "CONTENT_LENGTH": str(len(body)),
        }
        done = subprocess.run(
            ["git", "-c", "safe.directory=*", "http-backend"],
            input=body,
            env=environment,
            capture_output=True,
            check=False,
        )
        head, _, data = done.stdout.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().splitlines())
        request.send_response(int(fields.pop("Status", "200 OK").split()[0]))
        for name, value in fields.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(data)


@contextmanager
def git_server(root: Path) -> Generator[GitServer]:
    """Serves the repositories below `root` at `url`."""
    served = GitServer(root)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.answer(self)

        def do_POST(self) -> None:
            served.answer(self)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # as the library calls it
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
