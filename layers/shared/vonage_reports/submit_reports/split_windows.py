"""The parts of a split window, as the ledger has them."""

from collections.abc import Collection
from datetime import datetime

from vonage_reports.aws.ledger import Ledger
from vonage_reports.domain.report import Report, State
from vonage_reports.domain.splitting import halves_of


def parts_of(report: Report, ledger: Ledger, *, now: datetime) -> list[Report] | None:
    """Return the parts of a split report, oldest first, or None if a part is missing."""
    parts: list[Report] = []
    for half in halves_of(report, now=now):
        found = ledger.report(half.report_id)
        if found is None:
            return None
        if found.state is State.SPLIT:
            further = parts_of(found, ledger, now=now)
            if further is None:
                return None
            parts += further
        else:
            parts.append(found)
    return parts


def have_parts_open(report: Report, names: Collection[str], *, now: datetime) -> bool:
    """Whether all parts of a split report are open. `names` are the open reports.

    A part that is not open may be split itself. Then its own parts are open.
    """
    return report.window.can_be_halved and all(
        half.report_id in names or have_parts_open(half, names, now=now)
        for half in halves_of(report, now=now)
    )


def is_part_of(report: Report, root: Report, ledger: Ledger, *, now: datetime) -> bool:
    """Whether a part still belongs to the present split of the window.

    False if the window, or a half that contains the part, was later collected as one report.
    """
    around, is_split = root, root.leaves > 1
    for digit in report.split_path:
        if not is_split:
            return False
        found = ledger.report(halves_of(around, now=now)[int(digit)].report_id)
        if found is None:
            return False
        around, is_split = found, found.state is State.SPLIT
    return True
