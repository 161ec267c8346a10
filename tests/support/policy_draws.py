"""Any policy, any action, any moment: what the laws of the policy are drawn from."""

import json
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from veilig.core.action import Action
from veilig.core.action_json import from_json
from veilig.core.effect import Effect
from veilig.core.policy import Capability, Facts, Policy, parse

type Doc = dict[str, Any]
SERVICE = "autonomous_healing.scope.services[]."
CONTAINERS = "autonomous_healing.scope.containers."

NAMES = ["worker-1", "worker-2", "worker", "db", "api-1", "Worker-1"]
PATTERNS = ["worker-*", "worker-1", "w*", "*-1", "db", "api-*"]
PATHS = ["src/a.py", "src/sub/b.py", "README.md", ".env", "src/key.pem", ".git/config"]
GLOBS = ["**", "src/**", "src/*.py", "*.md", "**/*.pem", ".env"]
ARGVS = [["python", "-m", "pytest"], ["python"], ["make", "docs"], ["git", "push"], ["ls"]]
SHAPES = [["python", "**"], ["python", "-m", "*"], ["make", "*"], ["git", "push"], ["ls"]]
TOOLS = ["now", "read", "write"]
HOSTS = ["pypi.org", "a.example.org", "x.lan"]
HOST_PATTERNS = ["pypi.org", "*.example.org", "x.lan"]
VERDICTS = ["allow", "ask", "deny"]
FEED_URL = "https://taxii.example/api1/collections/1/"
MODES = ["act", "propose", "observe"]


def some(values: list[Any], most: int = 3) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.sampled_from(values), max_size=most)


verdicts = st.sampled_from(VERDICTS)
services = st.fixed_dictionaries(
    {
        "name": st.sampled_from(PATTERNS),
        "actions": some(["restart", "stop", "rollback", "restore_config", "free_space"], 4),
    },
    optional={
        "max_restarts_per_hour": st.integers(0, 5),
        "max_total_restarts_per_hour": st.integers(0, 5),
        "depends_on": some(["db", "api-1"], 2),
        "database": st.booleans(),
        "max_in_flight": st.integers(0, 2),
    },
)
policies: st.SearchStrategy[Doc] = st.fixed_dictionaries(
    {
        "mode": st.sampled_from(MODES),
        "autonomous_healing": st.fixed_dictionaries(
            {
                "enabled": st.sampled_from([True, True, False]),
                "notify": st.lists(
                    st.builds(
                        lambda n: {"name": "ops", "url": "http://127.0.0.1:9/", "messages_per_hour": n},
                        st.integers(0, 3),
                    ),
                    max_size=1,
                ),
                "scope": st.fixed_dictionaries(
                    {
                        "services": st.lists(services, max_size=4),
                        "security_groups": st.fixed_dictionaries({"readonly": st.booleans()}),
                        "containers": st.fixed_dictionaries(
                            {
                                "actions": some(["scale_up", "scale_down"], 2),
                                "max_scale": st.integers(0, 12),
                                "scale_down_own": st.booleans(),
                                "cooldown_s": st.integers(1, 100),
                            }
                        ),
                    }
                ),
            }
        ),
        "freeze": st.lists(
            st.builds(
                lambda a, n: {"start": f"2026-12-{a:02}", "end": f"2026-12-{a + n:02}"},
                st.integers(1, 9),
                st.integers(1, 9),
            ),
            max_size=2,
        ),
        "agent": st.fixed_dictionaries(
            {
                "enabled": st.sampled_from([True, True, False]),
                "commands": st.lists(
                    st.builds(lambda a, v: {"argv": a, "verdict": v}, st.sampled_from(SHAPES), verdicts),
                    max_size=4,
                ),
                "unlisted_commands": st.sampled_from(["ask", "deny"]),
                "paths": st.fixed_dictionaries(
                    {"read": some(GLOBS), "write": some(GLOBS), "deny": some(GLOBS[1:], 2)}
                ),
                "apply": verdicts,
                "branch": verdicts,
                "tests": verdicts,
                "desktop": verdicts,
                "hosts": st.lists(
                    st.builds(
                        lambda h, v: {"host": h, "verdict": v}, st.sampled_from(HOST_PATTERNS), verdicts
                    ),
                    max_size=3,
                ),
                "delegates": st.fixed_dictionaries(
                    {"verdict": verdicts, "sessions": st.integers(0, 3), "depth": st.integers(0, 2)}
                ),
            }
        ),
        "sandbox": st.fixed_dictionaries({"wall_s": st.integers(1, 200)}),
        "models": st.fixed_dictionaries(
            {
                "allowed": some(["local/*", "big"], 2),
                "tokens_per_answer": st.integers(1, 20),
                "requests_per_hour": st.integers(0, 3),
            }
        ),
        "audit": st.fixed_dictionaries(
            {"download": verdicts, "hosts": some(["git.example", "*.example"], 2)}
        ),
        "monitor": st.fixed_dictionaries(
            {
                "feeds": st.lists(
                    st.sampled_from(
                        [
                            {"name": "isac", "taxii": FEED_URL},
                            {"name": "isac", "taxii": FEED_URL, "key_env": "ISAC"},
                        ]
                    ),
                    max_size=2,
                )
            }
        ),
        "mcp": st.fixed_dictionaries(
            {
                "servers": st.lists(
                    st.builds(
                        lambda n, place, allow, ask, deny: {
                            "name": n,
                            **place,
                            "tools": {
                                "allow": [t for t in allow if t not in (*ask, *deny)],
                                "ask": [t for t in ask if t not in deny],
                                "deny": deny,
                            },
                        },
                        st.sampled_from(["time", "files"]),
                        st.sampled_from([{"argv": ["server"]}, {"url": "https://mcp.example.org/mcp"}]),
                        some(TOOLS),
                        some(TOOLS),
                        some(TOOLS),
                    ),
                    max_size=2,
                    unique_by=lambda one: one["name"],
                )
            }
        ),
    }
)

DIFF = "--- a/{0}\n+++ b/{0}\n"


def act(**fields: Any) -> Action:
    return from_json(fields)


name = st.sampled_from(NAMES)
path = st.sampled_from(PATHS)
seconds = st.sampled_from([1.0, 60.0, 150.0, 3600.0])
actions: st.SearchStrategy[Action] = st.one_of(
    st.builds(lambda s: act(kind="service.restart", service=s), name),
    st.builds(lambda s: act(kind="service.stop", service=s), name),
    st.builds(
        lambda g, c, n: act(kind="container.scale_up", group=g, current=c, replicas=c + n),
        name,
        st.integers(0, 10),
        st.integers(1, 4),
    ),
    st.builds(
        lambda g, c, n: act(kind="container.scale_down", group=g, current=c + n, replicas=c),
        name,
        st.integers(0, 10),
        st.integers(1, 2),
    ),
    st.builds(
        lambda v: act(kind="security_group.change", group="web", verb=v, rule="r"),
        st.sampled_from(["authorize", "revoke"]),
    ),
    st.just(act(kind="database.change", database="db", verb="vacuum")),
    st.builds(lambda p: act(kind="file.read", path=p), path),
    st.builds(lambda p: act(kind="file.write", path=p, content=""), path),
    st.builds(lambda p: act(kind="workspace.apply", root="/s", diff=DIFF.format(p), base=[[p, "0"]]), path),
    st.builds(
        lambda p: act(kind="git.branch", root="/s", branch="b", diff=DIFF.format(p), message="", base=[]),
        path,
    ),
    st.builds(
        lambda a, h, t: act(kind="command.run", argv=a, hosts=h, timeout_s=t),
        st.sampled_from(ARGVS),
        some(HOSTS, 2),
        seconds,
    ),
    st.builds(
        lambda a, t: act(kind="tests.run", command=a, timeout_s=t), st.sampled_from([[], *ARGVS]), seconds
    ),
    st.builds(lambda p: act(kind="audit.scan", paths=p), some(PATHS, 2)),
    st.builds(lambda a, t: act(kind="desktop.launch", argv=a, timeout_s=t), st.sampled_from(ARGVS), seconds),
    st.sampled_from(
        [
            act(kind="desktop.look", picture=True),
            act(kind="desktop.move", x=1, y=2),
            act(kind="desktop.click", x=1, y=2, count=2),
            act(kind="desktop.drag", x=1, y=2, to_x=3, to_y=4),
            act(kind="desktop.scroll", x=1, y=2, dy=3),
            act(kind="desktop.type", text="t"),
            act(kind="desktop.key", keys="ctrl+s"),
            act(kind="desktop.wait", seconds=1),
        ]
    ),
    st.builds(
        lambda m, t: act(kind="model.ask", model=m, prompt="", tokens_max=t),
        st.sampled_from(["local/a", "big", "no"]),
        st.integers(1, 25),
    ),
    st.builds(
        lambda s, w, to: act(
            kind="service.rollback", service=s, incarnation="1", what=w, to=to, files=[["/v/c", "a", "b"]]
        ),
        st.sampled_from(NAMES),
        st.sampled_from(["config", "version"]),
        st.sampled_from(["good", "other"]),
    ),
    st.builds(
        lambda s, f: act(kind="space.free", service=s, files=[[f, 1, 1, 1]]),
        st.sampled_from(NAMES),
        st.sampled_from(["/v/a.1", "/v/live"]),
    ),
    st.just(act(kind="signals.watch", inventory="/etc/services.json", digest="d")),
    st.builds(
        lambda c: act(kind="people.notify", channel=c, incident="i", text="t"),
        st.sampled_from(["ops", "no"]),
    ),
    st.just(act(kind="session.start", task="look", steps=5)),
    st.sampled_from([act(kind="skills.list"), act(kind="skill.read", skill="release")]),
    st.just(act(kind="advisories.fetch", url="https://osv.example/all.zip")),
    st.just(act(kind="repository.fetch", url="https://git.example/a.git")),
    st.builds(
        lambda f, k: act(kind="feed.fetch", url=FEED_URL, feed=f, key_env=k),
        st.sampled_from(["", "isac", "no"]),
        st.sampled_from(["", "ISAC"]),
    ),
    st.builds(lambda s: act(kind="mcp.list", server=s), st.sampled_from(["time", "files", "no"])),
    st.builds(
        lambda s, t: act(kind="mcp.call", server=s, tool=t),
        st.sampled_from(["time", "files", "no"]),
        st.sampled_from(TOOLS),
    ),
)
moments: st.SearchStrategy[Facts] = st.builds(
    Facts,
    now_wall_s=st.sampled_from([None, 0.0, 1_796_300_000.0, 1_796_600_000.0]),
    root=st.just("/s"),
    capability=st.sampled_from([Capability.READ_WRITE] * 3 + [Capability.READONLY]),
    managed=st.booleans(),
    known=st.booleans(),
    last_healthy=st.booleans(),
    foreign_starts=st.sampled_from([None, 0, 0, 1]),
    last_good=st.sampled_from(["", "good"]),
    regenerable=st.sampled_from([frozenset[str](), frozenset({"/v/a.1"})]),
    replicas=st.one_of(st.none(), st.integers(0, 12)),
    own_replicas=st.integers(0, 3),
    classes=st.sampled_from([frozenset[Effect](), frozenset({Effect.DATABASE})]),
    unhealthy=st.sampled_from([frozenset[str](), frozenset({"db"})]),
    in_flight=st.sampled_from([frozenset[str](), frozenset({"worker-2"})]),
    children=st.sampled_from([None, 0, 1, 3]),
    depth=st.sampled_from([None, 0, 1]),
)


def read(doc: Doc) -> Policy:
    return parse(json.dumps(doc))


def facts_for(action: Action, facts: Facts) -> Facts:
    """Half the time the live number is what the action believes in, so that scaling gets past its fence."""
    current = getattr(action, "current", None)
    known = facts.replicas is None or facts.replicas % 2 == 0
    return replace(facts, replicas=current) if current is not None and known else facts
