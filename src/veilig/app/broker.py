"""How does a broker get its law? It reads the operator's policy by itself, in its own process."""

import asyncio
import os
import socket
import sys
from dataclasses import replace
from pathlib import Path

from veilig.core.action import Action
from veilig.core.actor import Actor, ActorKind
from veilig.core.clock import SystemClock
from veilig.core.policy import Decision, Facts
from veilig.law import find_laws
from veilig.providers.heal.broker import Own
from veilig.providers.heal.broker_run import Charge, listen, serve

HEALER = Actor("agent:heal", ActorKind.AGENT)


def own_law(charge: Charge) -> Own:
    """The policy as this process reads it now, and at each act again."""
    clock, folder = SystemClock(), Path(charge.services).parent
    laws = find_laws(folder, charge.policy or None, os.environ, act=charge.act)

    def decide(action: Action, facts: Facts) -> Decision:
        return laws.decide(action, HEALER, replace(facts, now_wall_s=clock.wall_s(), root=str(folder)))

    return Own(decide, laws.digest)


def main() -> None:
    """The broker's process: its socket is the descriptor that argv names."""
    with socket.socket(fileno=int(sys.argv[1])) as sock:
        asyncio.run(serve(sock, own_law))


async def stand(
    path: Path, *, services: str, policy: str, key: str, users: frozenset[int], act: bool, readonly: bool
) -> None:
    """Serve healers of these users behind the socket `path` until cancelled. Raises VeiligError."""
    from veilig.home import find_home

    home = str(find_home(os.environ).path)
    charge = Charge(services, home, policy, act=act, readonly=readonly, key=key)
    await listen(path, charge, own_law, users)


if __name__ == "__main__":
    main()
