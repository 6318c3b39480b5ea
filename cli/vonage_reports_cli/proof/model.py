"""The result of a proof: the sums of the right windows, and the differences."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from vonage_reports.domain.windows import Window
from vonage_reports_cli.money import EXACT
from vonage_reports_cli.period import Period


@dataclass(frozen=True)
class Difference:
    """One fault that a proof found. `key` is the object, if it is one."""

    definition: str
    account_id: str
    window: str
    key: str | None
    reason: str

    def to_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        return {
            "definition": self.definition,
            "account_id": self.account_id,
            "window": self.window,
            "key": self.key,
            "reason": self.reason,
        }


@dataclass(frozen=True)
class Account:
    """The windows of a definition and account, oldest first, and those that are not final."""

    definition: str
    account_id: str
    windows: Sequence[Window]
    preliminary: Sequence[Window]


@dataclass
class Proof:
    """The proved sums, the differences, and the objects that cannot be proved now.

    `rows` are those of proved archives, of the newest revision of each window, and `totals` those
    of proved datasets. A record that several definitions collect counts in each.
    """

    accounts: list[Account] = field(default_factory=list)
    archives: int = 0
    bytes: int = 0
    rows: int = 0
    datasets: int = 0
    totals: dict[str | None, Decimal] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)
    unproved: list[Difference] = field(default_factory=list)

    @property
    def windows(self) -> int:
        """How many windows were read."""
        return sum(len(each.windows) for each in self.accounts)

    @property
    def preliminary(self) -> int:
        """How many windows have no final manifest."""
        return sum(len(each.preliminary) for each in self.accounts)

    def add(self, other: "Proof") -> None:
        """Add the proof of another window."""
        self.datasets += other.datasets
        self.archives += other.archives
        self.bytes += other.bytes
        self.rows += other.rows
        for currency, amount in other.totals.items():
            self.totals[currency] = EXACT.add(self.totals.get(currency, Decimal(0)), amount)
        self.differences += other.differences
        self.unproved += other.unproved


@dataclass(frozen=True)
class Delivery:
    """A manifest, its key, and whether it is the newest of its window."""

    key: str
    manifest: Mapping[str, Any]
    is_newest: bool

    @property
    def window(self) -> Window:
        """The window."""
        return Window.from_dict(self.manifest["window"])


def is_in(window: Window, period: Period | None) -> bool:
    """Whether a window has time of the period."""
    return period is None or (window.start < period.end and window.end > period.start)
