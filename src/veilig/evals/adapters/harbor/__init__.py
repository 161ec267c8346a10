"""Which of our parts does Harbor run? `harbor run -a veilig.evals.adapters.harbor:VeiligAgent`, and two more.

Needs the extra `harbor`. `-e veilig.evals.adapters.harbor:BwrapEnvironment` takes our wall for a container
engine, and `-a veilig.evals.adapters.harbor:VeiligInstalledAgent` runs veilig inside the environment.
"""

from veilig.evals.adapters.harbor.agent import VeiligAgent
from veilig.evals.adapters.harbor.environment import BwrapEnvironment
from veilig.evals.adapters.harbor.installed import VeiligInstalledAgent

__all__ = ["BwrapEnvironment", "VeiligAgent", "VeiligInstalledAgent"]
