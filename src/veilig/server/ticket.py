"""What is known of one admitted request, and what may it cost?"""

from dataclasses import dataclass
from typing import Any, Final

from veilig.app.safeguards import Caller
from veilig.app.spending import Reservation
from veilig.core.policy_safeguards import ServedModel
from veilig.server.wire import Told

BYTES_PER_TOKEN: Final = 2  # a bound for reserving: text has three to five, so more is set aside than used


@dataclass(slots=True)
class Ticket:
    """One admitted request. model: what is served, which the policy may have changed from what was asked."""

    id: str
    path: str
    surface: str
    body: dict[str, Any]
    raw: bytes
    headers: list[tuple[bytes, bytes]]
    caller: Caller
    asked: str
    served: ServedModel
    model: str
    grant: str
    told: Told
    began_s: float
    reserved: Reservation | None = None
    score: float = 0.0

    @property
    def tokens_in(self) -> int:
        """A bound of what the request reads."""
        return len(self.raw) // BYTES_PER_TOKEN

    @property
    def tokens_out(self) -> int:
        """A bound of what the answer writes: what the request says, else what the policy supposes."""
        if self.surface == "embeddings":
            return 0
        for name in ("max_output_tokens", "max_completion_tokens", "max_tokens"):
            if isinstance(self.body.get(name), int):
                return max(0, self.body[name])
        return self.served.tokens_per_answer

    @property
    def accounts(self) -> tuple[str, ...]:
        """Whose budgets pay for it."""
        caller = self.caller
        found = (f"key:{caller.key.id}", f"subject:{caller.subject.id}", f"org:{caller.subject.org}")
        return (*found, f"grant:{self.grant}") if self.grant else found


def price(model: ServedModel, tokens_in: int, tokens_out: int) -> int:
    """Millionths of a US dollar, rounded up."""
    exact = tokens_in * model.usd_per_million_in + tokens_out * model.usd_per_million_out
    return int(exact) + (exact > int(exact))
