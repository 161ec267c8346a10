"""How does a person have advisories fetched? The address they typed is their vote, for that act alone."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from veilig.app import Setting
    from veilig.core.action import FetchAdvisories
    from veilig.core.provider import Request, Vote


def fetched_file(url: str, setting: "Setting") -> Path:
    """The file an address names, through the gate; whoever read it removes it. Raises VeiligError."""
    from veilig.app import fetch_advisories
    from veilig.core.action import FetchAdvisories

    wanted = FetchAdvisories(url)
    return asyncio.run(fetch_advisories(wanted, setting, _Typed(wanted)))


class _Typed:
    """The person at the terminal typed the address: their vote for fetching that, and nothing else."""

    def __init__(self, wanted: "FetchAdvisories") -> None:
        self._wanted = wanted

    async def ask(self, request: "Request") -> "Vote | None":
        """A yes for this very act."""
        if request.action != self._wanted:
            return None
        from veilig.core.policy import builtin_policy
        from veilig.core.provider import Vote
        from veilig.home import local_person

        return Vote(local_person(builtin_policy()), True, "command line", "the address was given")
