"""Refusals of one account or one product, which may outlive every other fault."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random

from local.simulator.answers import Answer, forbidden, unprovisioned

EVERYWHERE = frozenset({"create", "get", "list", "cancel", "download"})


@dataclass(frozen=True)
class Refusal:
    """A refusal of an account's or a product's requests from `start` to `end`; None: for good."""

    start: datetime
    end: datetime | None
    account_id: str | None = None
    product: str | None = None
    operations: frozenset[str] = frozenset({"create"})

    def hits(self, operation: str, account_id: str, product: str, now: datetime) -> bool:
        """Whether a request is refused."""
        return (
            operation in self.operations
            and self.start <= now
            and (self.end is None or now < self.end)
            and self.account_id in (None, account_id)
            and self.product in (None, product)
        )

    @property
    def answer(self) -> Answer:
        """The answer to a refused request."""
        return (forbidden() if self.product is None else unprovisioned()).answer()


def draw(
    random: Random,
    *,
    start: datetime,
    end: datetime,
    accounts: Sequence[str],
    products: Sequence[str],
) -> list[Refusal]:
    """Draw the refusals of a seed: a closed account, and one that outlives the calm at `end`."""
    refusals = []
    begins = start + (end - start) * random.random()
    if random.random() < 0.15:
        hours = random.choice([1, 8, 30, 60])
        refusals.append(
            Refusal(
                begins,
                min(begins + timedelta(hours=hours), end),
                account_id=random.choice(accounts),
                operations=EVERYWHERE,
            )
        )
    if random.random() < 0.08:
        days = random.choice([None, 1, 2])
        heals = None if days is None else end + timedelta(days=days)
        by_account = random.random() < 0.5
        refusals.append(
            Refusal(
                max(begins, end - timedelta(days=1.5)),
                heals,
                account_id=random.choice(accounts) if by_account else None,
                product=None if by_account else random.choice(products),
            )
        )
    return refusals
