"""How long does one decision take, with 10 and with 100 rules? Prints a table of medians."""

import statistics
import time

from veilig.core.action_json import from_json
from veilig.core.actor import Actor, ActorKind
from veilig.core.policy import Policy, builtin_policy, decide, parse
from veilig.core.policy_examples import kindest

AGENT = Actor("agent:bench", ActorKind.AGENT)
ACTIONS = [
    ("restart, last rule", {"kind": "service.restart", "service": "group-0-7"}),
    ("restart, out of scope", {"kind": "service.restart", "service": "stranger"}),
    ("command, allowed", {"kind": "command.run", "argv": ["tool0", "sub", "x"]}),
    ("command, unlisted", {"kind": "command.run", "argv": ["nothing", "sub", "x"]}),
    ("file, write", {"kind": "file.write", "path": "src/a/b.py", "content": ""}),
]


def policy(rules: int) -> tuple[Policy, float]:
    """A policy with that many service rules, commands and path rules; and the seconds to load it."""
    lines = ["mode: act", "autonomous_healing:", "  enabled: true", "  scope:", "    services:"]
    row = '      - {{name: "group-{0}-*", actions: [restart], max_restarts_per_hour: 3}}'
    lines += [row.format(i) for i in reversed(range(rules))]
    lines += ["agent:", "  commands:", *(f'    - [tool{i}, sub, "**"]' for i in range(rules))]
    lines += ["  paths:", '    read: ["**"]', '    write: ["**"]', "    deny:"]
    lines += [f'      - "**/private{i}/*.key"' for i in range(rules)]
    text = "\n".join(lines) + "\n"
    builtin_policy()
    started = time.perf_counter()
    return parse(text), time.perf_counter() - started


def decision_us(law: Policy, fields: dict[str, object]) -> float:
    """Median of 30 rounds of 200 decisions, in microseconds."""
    action = from_json(fields)
    facts = kindest(action)
    rounds: list[float] = []
    for _ in range(30):
        started = time.perf_counter()
        for _ in range(200):
            decide(law, action, AGENT, facts)
        rounds.append((time.perf_counter() - started) / 200 * 1e6)
    return statistics.median(rounds)


def main() -> None:
    laws = [(n, *policy(n)) for n in (10, 100)]
    print(f"{'us per decision':<24}" + "".join(f"{n:>6} rules" for n, _, _ in laws))
    for name, fields in ACTIONS:
        print(f"{name:<24}" + "".join(f"{decision_us(law, fields):>12.1f}" for _, law, _ in laws))
    print(f"{'load, ms':<24}" + "".join(f"{s * 1e3:>12.1f}" for _, _, s in laws))


if __name__ == "__main__":
    main()
