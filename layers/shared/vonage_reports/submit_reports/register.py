"""Register the partitions that the catalogue refused when they were delivered."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from vonage_reports.aws.glue import Catalogue
from vonage_reports.aws.ledger_items import OpenWork
from vonage_reports.domain.catalogue import Registration
from vonage_reports.submit_reports.context import Invocation, Services, StepResult
from vonage_reports.submit_reports.execute import collect_errors
from vonage_reports.submit_reports.settle import rotated

MOST_PARTITIONS = 20
"""How many partitions a sweep registers."""


def register_waiting(
    work: OpenWork, services: Services, invocation: Invocation, *, clock: Callable[[], datetime]
) -> StepResult:
    """Register partitions that wait, until the catalogue refuses one.

    Lake Formation refuses all partitions of a table alike, so the next sweep goes on. It begins at
    another definition, because one table alone may be refused.

    A stack without a catalogue forgets them: a later catalogue begins with no partition at all.
    """
    result = StepResult()
    tried = 0
    for group in _partitions(work.registrations, clock()):
        if tried == MOST_PARTITIONS or not invocation.has_time_to_register():
            break
        with collect_errors(result.errors):
            if services.catalogue is not None:
                tried += 1
                if not _register(group[0], services.catalogue, services):
                    break
            for each in group:
                services.ledger.forget_registration(each)
    return result


def _partitions(waiting: Iterable[Registration], now: datetime) -> list[Sequence[Registration]]:
    """Return the deliveries of each partition, in turn by their definitions.

    The hours of a day share one partition.
    """
    groups: dict[tuple[str, ...], list[Registration]] = {}
    for each in waiting:
        groups.setdefault(tuple(each.partition.values()), []).append(each)
    names = sorted({group[0].definition for group in groups.values()})
    turns = {name: turn for turn, name in enumerate(rotated(names, now))}
    return sorted(groups.values(), key=lambda group: turns[group[0].definition])


def _register(waiting: Registration, catalogue: Catalogue, services: Services) -> bool:
    manifest = services.bucket.read_json(waiting.manifest)
    if manifest is None:
        # Only a window with a manifest is delivered. The operator has deleted this one.
        return True
    return catalogue.register(
        waiting.product,
        waiting.partition,
        [(column["name"], column["type"]) for column in manifest["columns"]],
        bucket=services.bucket.name,
    )
