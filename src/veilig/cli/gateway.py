"""`veilig gateway`: an OpenAI-compatible gateway with access, budgets, a monitor and an explained ladder."""

import argparse
import json
import os
import sys
from typing import TYPE_CHECKING, Any

from veilig.core.errors import EXIT_INCOMPLETE, EXIT_OK, UsageError

if TYPE_CHECKING:
    from veilig.cli.record import Places

EXTRA = ("aiohttp", "ahocorasick_rs", "httptools", "orjson", "starlette", "uvicorn", "uvloop")


def options(parser: argparse.ArgumentParser) -> None:
    """What `gateway` takes."""
    parser.description = (
        "Serves /v1/responses, /v1/chat/completions, /v1/embeddings and /v1/models for whoever has a key "
        "(`veilig access`), as veilig.yaml says in its sections gateway, access and monitor."
    )
    parser.add_argument("--policy", metavar="FILE", help="the operator's policy")
    parser.add_argument("--listen", metavar="HOST:PORT", help="instead of gateway.listen")
    parser.add_argument("--port", type=int, metavar="N", help="instead of the port in gateway.listen")
    parser.add_argument(
        "--upstream", metavar="URL", help="where all models are, when the policy names no upstream"
    )
    parser.add_argument("--upstream-key-env", default="", metavar="NAME", help="variable with its key")
    parser.set_defaults(do=_serve)
    verbs = parser.add_subparsers(metavar="VERB")
    check = verbs.add_parser("check", help="try every safeguard and say which classes may be served")
    check.add_argument("--policy", metavar="FILE", default=argparse.SUPPRESS, help="the operator's policy")
    check.add_argument("--json", action="store_true", help="print JSON")
    check.add_argument(
        "--clients",
        action="store_true",
        help="try it with the OpenAI SDK and Codex, against a loopback model",
    )
    check.set_defaults(do=_check)
    admin = verbs.add_parser("admin", help="a page for subjects, grants, cases, appeals, feeds and budgets")
    admin.description = (
        "Serves a page and an HTTP API for the people who run a gateway, over the same record; both "
        "processes may run at once. Who may sign in: `veilig access seat new PERSON`."
    )
    admin.add_argument("--policy", metavar="FILE", default=argparse.SUPPRESS, help="the operator's policy")
    admin.add_argument("--at", metavar="HOST:PORT", help="instead of gateway.admin_listen")
    admin.add_argument(
        "--url", default="", metavar="URL", help="how people reach it, where a proxy adds https"
    )
    admin.set_defaults(do=_admin)


def run(given: argparse.Namespace) -> int:
    """0 when it was asked to stop; 3 when `check` finds a safeguard that does not work."""
    return int(given.do(given))


def need_extra() -> None:
    """Raises UsageError when what the gateway stands on is not installed."""
    from importlib.util import find_spec

    if missing := [name for name in EXTRA if find_spec(name) is None]:
        raise UsageError(
            f"the gateway needs {', '.join(missing)}",
            why="they are an optional part",
            fix="pip install 'veilig[server]'",
        )


def _service(given: argparse.Namespace, ledger: Any, places: "Places") -> Any:
    from dataclasses import replace

    from veilig.app.safeguards import Desk
    from veilig.app.speeds import SharedSpeeds
    from veilig.app.watching import placed
    from veilig.core.clock import SystemClock
    from veilig.server.serve import Service, with_upstream

    rules = places.policy.elsewhere.safeguards
    rules = replace(rules, monitor=placed(rules.monitor, places.home))
    if getattr(given, "upstream", None):
        rules = replace(rules, gateway=with_upstream(rules.gateway, given.upstream, given.upstream_key_env))
    states = places.home.open_states(places.policy)
    speeds = SharedSpeeds(states) if states is not None else None
    return Service(Desk(ledger, rules, SystemClock()), places.home.path / "cache", speeds)


def _serve(given: argparse.Namespace) -> int:
    need_extra()
    from veilig.cli.record import find_places
    from veilig.server.serve import Place, place_of, serve

    places = find_places(given)
    safeguards = places.policy.elsewhere.safeguards
    place = place_of(given.listen or safeguards.gateway.listen)
    if given.port is not None:
        place = Place(place.host, given.port)
    with places.home.open_ledger(places.policy) as ledger:
        service = _service(given, ledger, places)
        broken = [name for name, works in service.working.items() if not works]

        def ready(address: str) -> None:
            print(f"gateway {address}   models {len(service.rules.gateway.models)}", flush=True)
            print(f"record  {places.ledger}", flush=True)
            off = f"   not working: {', '.join(broken)}" if broken else ""
            print(f"watch   {', '.join(n for n, w in service.working.items() if w)}{off}", flush=True)

        serve(service, place, ready)
    print("stopped", file=sys.stderr)
    return EXIT_OK


def _admin(given: argparse.Namespace) -> int:
    need_extra()
    from dataclasses import replace

    from veilig.app.safeguards import Desk
    from veilig.app.watching import placed
    from veilig.cli.record import find_places
    from veilig.core.clock import SystemClock
    from veilig.server.admin.site import Admin, serve
    from veilig.server.serve import place_of

    places = find_places(given)
    rules = places.policy.elsewhere.safeguards
    rules = replace(rules, monitor=placed(rules.monitor, places.home))
    listen = given.at or rules.gateway.admin_listen
    place = place_of(listen)
    with places.home.open_ledger(places.policy) as ledger:
        desk = Desk(ledger, rules, SystemClock())
        seal = places.home.redactor(os.environ).seal

        def ready(address: str) -> None:
            print(f"admin   {given.url or address}\nrecord  {places.ledger}", flush=True)

        serve(Admin(desk, rules, seal, listen, given.url), place.host, place.port, ready)
    print("stopped", file=sys.stderr)
    return EXIT_OK


def _check(given: argparse.Namespace) -> int:
    need_extra()
    from dataclasses import replace

    from veilig.access.rules import find_class
    from veilig.app.selftest import try_all
    from veilig.app.watching import load_indicators, make_engine, placed
    from veilig.home import find_home
    from veilig.law import find_laws

    home = find_home(os.environ)
    policy = find_laws(home.path, given.policy, os.environ).operator
    rules = policy.elsewhere.safeguards
    if given.clients:
        from veilig.cli.gateway_clients import check_clients

        clients = replace(rules, monitor=placed(rules.monitor, home))
        return check_clients(policy, clients, as_json=given.json)
    loaded = load_indicators(placed(rules.monitor, home)) if rules.monitor.enabled else None
    engine = make_engine(rules.monitor, loaded) if loaded is not None else None
    results = try_all(engine)
    classes: dict[str, bool] = {}
    for served in rules.gateway.models:
        wanted = find_class(served.capability_class, rules.access.classes)
        classes[served.capability_class] = wanted is not None and all(
            results[s][0] for s in wanted.safeguards
        )
    if given.json:
        facts = {
            "safeguards": {name: {"works": ok, "detail": detail} for name, (ok, detail) in results.items()},
            "classes": classes,
            "indicators": loaded.indicators.size if loaded else 0,
            "refused": loaded.refused if loaded else {},
        }
        print(json.dumps(facts, indent=2))
    else:
        for name, (ok, detail) in results.items():
            print(f"{name:<16} {'works' if ok else 'does not work: ' + detail}")
        for name, ok in classes.items():
            print(f"class {name:<10} {'may be served' if ok else 'is not served'}")
        if loaded is not None:
            refused = ", ".join(f"{n} {why}" for why, n in sorted(loaded.refused.items()))
            print(
                f"indicators       {loaded.indicators.size} live"
                + (f"; refused: {refused}" if refused else "")
            )
    needed = {s for c in rules.access.classes for s in c.safeguards}
    return EXIT_OK if all(results[s][0] for s in needed) and all(classes.values()) else EXIT_INCOMPLETE
