"""The proof of a period: its windows, and the shape of what was delivered."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from types import MappingProxyType
from typing import Any

import duckdb

from vonage_reports.domain.report import Revision
from vonage_reports_cli.errors import CommandError
from vonage_reports_cli.objects import Objects, date_of, manifest_fault
from vonage_reports_cli.period import Period
from vonage_reports_cli.proof.model import Delivery, Difference, Proof, is_in
from vonage_reports_cli.proof.shape import accounts_of, shape_of, without_manifest
from vonage_reports_cli.proof.window import WindowProof

_AT_ONCE = 2
"""How many windows are proved side by side. Each converts an archive."""


def prove(
    objects: Objects,
    period: Period | None,
    *,
    expires_before: Mapping[str, datetime] = MappingProxyType({}),
    track: Callable[[Iterator[Proof], int], Iterator[Proof]] = lambda proofs, _: proofs,
) -> Proof:
    """Prove the windows with time of the period, or all windows.

    `expires_before` has a time for prefixes of keys: such objects of windows that end before it may
    be gone. `track` shows the progress.
    """
    # List the datasets first: the manifest of a window is written after its dataset.
    datasets = [key for key in objects.keys("data/", period) if key.endswith(".parquet")]
    keys = [key for key in objects.keys("manifests/") if key.endswith(".json")]
    whole = Proof()
    read = list(_deliveries(objects, keys, period, whole))
    of_period = [each for each in read if is_in(each.window, period)]
    whole.accounts = accounts_of(of_period)
    whole.differences += shape_of(read, keys, period)
    whole.differences += without_manifest(datasets, read, period)
    with duckdb.connect() as engine, ThreadPoolExecutor(_AT_ONCE) as pool:
        proofs = pool.map(
            lambda each: WindowProof(objects, each, engine, expires_before=expires_before).prove(),
            of_period,
        )
        for proof in track(proofs, len(of_period)):
            whole.add(proof)
    return whole


def _deliveries(
    objects: Objects, keys: Sequence[str], period: Period | None, whole: Proof
) -> Iterator[Delivery]:
    """Yield the manifests of the period and around it, oldest window first."""
    manifests: dict[str, Mapping[str, Any]] = {}
    for key in keys:
        day = date_of(key)
        if period is not None and day is not None:
            first, last = period.window_dates
            if not first <= day <= last:
                continue
        try:
            manifest = objects.read_json(key)
            if manifest is None:
                continue
            fault = manifest_fault(manifest) or _time_fault(manifest) or _key_fault(key, manifest)
        except CommandError as error:
            fault = str(error)
        if fault is None and manifest is not None:
            manifests[key] = manifest
            continue
        name, account_id, *_ = (*key.split("/")[1:3], "", "")
        reason = f"the manifest cannot be used: {fault}; restore its last version"
        whole.differences.append(Difference(name, account_id, str(day), key, reason))
    newest: dict[tuple[str, ...], str] = {}
    for key in sorted(manifests, key=lambda key: _rank(manifests[key])):
        newest[_window_key(manifests[key])] = key
    for key in sorted(manifests, key=lambda key: (_window_key(manifests[key]), key)):
        yield Delivery(key, manifests[key], newest[_window_key(manifests[key])] == key)


def _time_fault(manifest: Mapping[str, Any]) -> str | None:
    times = manifest.get("times")
    has_times = isinstance(times, dict) and times.keys() >= {"submitted", "delivered"}
    return None if has_times else "its times is missing or unreadable"


def _key_fault(key: str, manifest: Mapping[str, Any]) -> str | None:
    """Return the first field that differs from the key, which names the report."""
    definition, account_id, *_ = (*key.split("/")[1:], "")
    of_key = {
        "definition": definition,
        "account_id": account_id,
        "report_id": key.rpartition("/")[2].removesuffix(".json"),
    }
    for field, value in of_key.items():
        if manifest.get(field) != value:
            return f"its {field} is not that of its key"
    return None


def _rank(manifest: Mapping[str, Any]) -> tuple[object, ...]:
    """Return the rank of a revision: the final one, else the one collected last."""
    times = manifest["times"]
    return (
        manifest["revision"] == Revision.FINAL,
        times["submitted"] or "",
        times["delivered"] or "",
    )


def _window_key(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    window = manifest["window"]
    return (manifest["definition"], manifest["account_id"], window["start"], window["end"])
