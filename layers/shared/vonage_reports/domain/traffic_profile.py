"""The distribution of rows within a window, known from the parts of an earlier window."""

import json
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class TrafficProfile:
    """The parts of a window that was split, oldest first, each as hours and rows.

    Traffic is uneven, and the next window must be split at the same busy hours.
    """

    parts: tuple[tuple[float, float], ...]

    @property
    def rows(self) -> int:
        """How many rows all parts have together."""
        return round(sum(rows for _, rows in self.parts))

    def scaled(self, rows: float) -> "TrafficProfile":
        """Return the same distribution for another number of rows."""
        factor = rows / (self.rows or 1)
        return TrafficProfile(tuple((hours, part * factor) for hours, part in self.parts))

    def between(self, start: float, end: float) -> "TrafficProfile":
        """Return the piece between two fractions of the window. A part's rows count as even."""
        total = sum(hours for hours, _ in self.parts)
        begin, finish = start * total, end * total
        return TrafficProfile(tuple(_overlaps(self.parts, begin, finish)))

    def to_json(self) -> str:
        """Return the JSON for the ledger."""
        return json.dumps(self.parts)

    @classmethod
    def from_json(cls, text: str) -> "TrafficProfile":
        """Reverse `to_json`."""
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
