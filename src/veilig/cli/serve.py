"""`veilig serve`: a page and an API on which a team watches, steers, approves and replays sessions."""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from veilig.core.errors import EXIT_OK, UsageError
from veilig.core.policy_page import LISTEN, PageOidc, PageRules

if TYPE_CHECKING:
    from veilig.server.oidc import Provider
    from veilig.server.webhooks import Webhooks

EXTRA = ("aiohttp", "argon2", "httptools", "jwt", "orjson", "uvicorn", "uvloop", "websockets")


def options(parser: argparse.ArgumentParser) -> None:
    """What `serve` takes."""
    parser.description = (
        "Serves a page on which several people watch, steer, approve and replay the sessions of this "
        "machine, each seeing what their role may; the same as an API (/api/v1/openapi.json). Sessions that "
        "are started there run as processes of their own and outlive the server."
    )
    parser.add_argument(
        "roots", nargs="*", default=[], metavar="FOLDER",
        help="projects, or folders of projects, that may be worked on (default: collaboration.page.roots of "
        "the policy, else here); outside of these roots nothing is served",
    )  # fmt: skip
    parser.add_argument(
        "--services", action="append", default=[], metavar="FILE",
        help="what runs where (as for `veilig heal`): its healing may be started from the page; may be given "
        "again (default: collaboration.page.services of the policy, else none)",
    )  # fmt: skip
    parser.add_argument(
        "--listen", default="", metavar="HOST:PORT", help=f"default: the policy's, {LISTEN}; port 0: any"
    )
    parser.add_argument(
        "--url", default="", metavar="URL", help="how people call it, behind a proxy with TLS"
    )
    parser.add_argument("--policy", metavar="FILE", help="the operator's policy (default: see the reference)")
    parser.add_argument("--model-url", default="", metavar="URL", help="where models are asked")
    parser.add_argument("--oidc-issuer", default="", metavar="URL", help="who may say who somebody is")
    parser.add_argument("--oidc-client", default="", metavar="ID", help="what we are called there")
    parser.add_argument(
        "--oidc-secret-env", default="", metavar="NAME", help="the variable with our secret there, if any"
    )
    parser.add_argument(
        "--webhook", default="", metavar="URL", help="tell this address of questions and ends"
    )
    parser.add_argument(
        "--webhook-secret-env", default="", metavar="NAME", help="the variable with the key that signs it"
    )
    parser.add_argument("--no-link", action="store_true", help="print no link that signs you in")


def run(given: argparse.Namespace) -> int:
    """0 when it was asked to stop."""
    need_extra()
    from veilig.app import Setting
    from veilig.app.serving import Serving
    from veilig.app.wiring import operator_policy
    from veilig.home import find_home
    from veilig.server.people_serve import address_of, serve
    from veilig.server.serve import place_of

    setting = Setting(given.policy, model_url=given.model_url)
    rules = operator_policy(find_home(setting.environment), setting).elsewhere.page
    roots = rules.allowed(tuple(map(Path, given.roots)), Path())
    for root in roots:
        if not root.is_dir():
            raise UsageError(f"{str(root)!r} is not a folder", fix="give folders of projects")
    services = rules.watched(tuple(map(Path, given.services)))
    for file in services:
        if not file.is_file():
            raise UsageError(f"{str(file)!r} is no file", fix="give one that `veilig heal` takes")
    listen = given.listen or rules.listen
    host, _, port = listen.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise UsageError(f"--listen {listen!r} is no address", fix=f"write for example {LISTEN}")
    address = address_of(place_of(listen), given.url or rules.url)
    provider, webhooks = _provider(given, rules), _webhooks(given, rules)
    serving = Serving(setting, roots, services)

    def ready(url: str) -> None:
        print(f"page    {url}   API {url}/api/v1/openapi.json", flush=True)
        print(f"record  {serving.ledger.place}   people {len(serving.people())}", flush=True)
        if not given.no_link:
            print(f"you     {url}/#/join/{serving.once()}   (once, within 15 minutes)", flush=True)

    try:
        serve(serving, address, ready, provider, webhooks)
    finally:
        serving.close()
    print("stopped; sessions that are at work go on", file=sys.stderr)
    return EXIT_OK


def _webhooks(given: argparse.Namespace, rules: PageRules) -> "list[Webhooks]":
    from veilig.server.webhooks import Target, Webhooks

    named = [(given.webhook, given.webhook_secret_env)] if given.webhook else list(rules.webhooks)
    return [Webhooks(Target(url, _variable(secret_env))) for url, secret_env in named]


def _variable(name: str) -> str:
    value = os.environ.get(name, "") if name else ""
    if name and not value:
        raise UsageError(f"the variable {name} is not set", fix="set it, or leave its option out")
    return value


def _provider(given: argparse.Namespace, rules: PageRules) -> "Provider | None":
    from veilig.server.oidc import Provider

    named = rules.oidc
    if given.oidc_issuer:
        if not given.oidc_client:
            raise UsageError("--oidc-issuer needs --oidc-client", why="the provider must know who asks")
        named = PageOidc(given.oidc_issuer, given.oidc_client, given.oidc_secret_env)
    return Provider(named.issuer, named.client, _variable(named.secret_env)) if named else None


def need_extra() -> None:
    """Raises UsageError when what the server stands on is not installed."""
    from importlib.util import find_spec

    if lacking := [name for name in EXTRA if find_spec(name) is None]:
        raise UsageError(
            f"the page needs {', '.join(lacking)}",
            why="they are an optional part",
            fix="pip install 'veilig[server]'",
        )
