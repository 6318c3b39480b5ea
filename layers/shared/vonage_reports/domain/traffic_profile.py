"""How the rows of a window lie in it, as far as the parts of an earlier one have shown."""

import json
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class TrafficProfile:
    """The parts of a window that was split, oldest first, each as hours and rows.

    Traffic is no even stream: where the busy hours are, the next window has to be split as well.
    """

    parts: tuple[tuple[float, float], ...]

    @property
    def rows(self) -> int:
        """The rows of all parts."""
        return round(sum(rows for _, rows in self.parts))

    def scaled(self, rows: float) -> "TrafficProfile":
        """Return the same form with so many rows in all."""
        factor = rows / (self.rows or 1)
        return TrafficProfile(tuple((hours, part * factor) for hours, part in self.parts))

    def between(self, start: float, end: float) -> "TrafficProfile":
        """Cut a piece out, from and to a fraction of the whole; rows lie evenly in a part."""
        total = sum(hours for hours, _ in self.parts)
        begin, finish = start * total, end * total
        return TrafficProfile(tuple(_overlaps(self.parts, begin, finish)))

    def to_json(self) -> str:
        """The form of the ledger."""
        return json.dumps(self.parts)

    @classmethod
    def from_json(cls, text: str) -> "TrafficProfile":
        """Read what `to_json` wrote."""
        return cls(tuple((hours, rows) for hours, rows in json.loads(text)))


def _overlaps(
    parts: Iterable[tuple[float, float]], begin: float, finish: float
) -> Iterable[tuple[float, float]]:
    position = 0.0
    for hours, rows in parts:
        inside = min(position + hours, finish) - max(position, begin)
        if inside > 0:
            yield inside, rows * inside / hours
        position += hours
