"""The windows behind the page's numbers, and the cautions about them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from vonage_reports.domain.definitions import Refusal
from vonage_reports_cli.completeness import (
    Collected,
    Completeness,
    completeness_of,
    refusals_of,
)
from vonage_reports_cli.deliveries import losses_of
from vonage_reports_cli.page.windows import Windows, doubtful_of, windows_of, words_of
from vonage_reports_cli.period import Period
from vonage_reports_cli.sql.dataset import Source
from vonage_reports_cli.status.model import Content


@dataclass(frozen=True)
class Basis:
    """The windows, their sums as one line, and sentences of caution."""

    windows: Sequence[Windows]
    words: str
    cautions: Sequence[str] = ()


def basis_of(
    source: Source, content: Content | None, month: Period | None, expire_before: datetime | None
) -> Basis:
    """Return the windows and cautions of the page of a month, or of all time."""
    manifests, datasets = source.manifests(), source.datasets()
    refusals: Sequence[Refusal] = ()
    if content is not None:
        refusals = refusals_of(content.definitions, content.refusals, content.calendar)
    refused = [f"{each.definition}, {each.field}: {each.reason}" for each in refusals]
    if month is None or content is None:
        doubtful = doubtful_of(manifests, datasets, expire_before) if month is None else ()
        windows = windows_of(manifests, content, month, doubtful=doubtful)
        return Basis(windows, words_of(windows), [*refused, *losses_of(manifests, month)])
    completeness = _completeness(content, month, manifests, datasets, expire_before)
    windows = windows_of(manifests, content, month, completeness=completeness)
    return Basis(windows, words_of(windows, completeness), [*refused, *completeness.cautions])


def _completeness(
    content: Content,
    month: Period,
    manifests: Sequence[Mapping[str, Any]],
    datasets: Sequence[str],
    expire_before: datetime | None,
) -> Completeness:
    reports = {
        each.report_id: each
        for found in (content.work.reports, *content.finished.values())
        for each in found
    }
    collected = Collected(
        content.as_of,
        content.definitions,
        content.refusals,
        content.calendar,
        tuple(reports.values()),
        datasets_expire_before=expire_before,
    )
    return completeness_of(month, collected, manifests, datasets=datasets)
