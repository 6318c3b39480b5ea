"""A chart as numbers and words. `svg` draws it, `document` writes its table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum


class Kind(Enum):
    """The forms of a chart. All of them stack the series."""

    COLUMNS = "columns"
    """Upright, for the days of a period."""
    BARS = "bars"
    """Lying, each with its label above, longest first."""
    SHARES = "shares"
    """Lying, all of one length, cut into percentages."""


@dataclass(frozen=True)
class Value:
    """The size of a piece of a bar, and the exact number as text."""

    size: Decimal
    text: str


@dataclass(frozen=True)
class Series:
    """The pieces of one colour, by category. `colour` is a class of the style sheet."""

    name: str
    colour: str
    values: Mapping[str, Value]


@dataclass(frozen=True)
class Chart:
    """A bar for each category, which the series cut into pieces.

    `heading` names the categories, `unit` the values. `labels` has shorter names of categories for
    the axis, and `notes` the text at the end of each bar.
    """

    kind: Kind
    title: str
    heading: str
    unit: str
    description: str
    categories: Sequence[str]
    series: Sequence[Series]
    labels: Mapping[str, str]
    notes: Mapping[str, str]

    @property
    def has_bars_to_compare(self) -> bool:
        """Whether more than one category has a bar. A single bar says no more than its number."""
        return sum(self.size(each) > 0 for each in self.categories) > 1

    def size(self, category: str) -> Decimal:
        """Return the length of a category's bar. A credit, which is negative, has no length."""
        sizes = (each.values[category].size for each in self.series if category in each.values)
        return sum((max(size, Decimal(0)) for size in sizes), Decimal(0))

    def words(self, category: str) -> str:
        """Return the numbers of a category as one line."""
        pieces = [
            f"{each.name} {each.values[category].text}"
            for each in self.series
            if category in each.values
        ]
        return f"{category}: {', '.join(pieces)}"
