"""`verify`: prove again what was delivered, from the bucket alone."""

import sys
from collections.abc import Iterator
from decimal import Decimal

import click
from rich.console import Console
from rich.progress import track

from vonage_reports.domain.printable import printable
from vonage_reports_cli.completeness import Flaw, Incomplete
from vonage_reports_cli.errors import Exit
from vonage_reports_cli.money import plain
from vonage_reports_cli.objects import expires_before, objects_of
from vonage_reports_cli.period import Period, month_of
from vonage_reports_cli.proof.model import Account, Difference, Proof
from vonage_reports_cli.proof.prove import prove
from vonage_reports_cli.session import Session, verb

_MB = 1_000_000
_HELP = """Prove again what was delivered, from the bucket alone.

Archives: SHA-256 and CRCs against receipt and manifest. Datasets: SHA-256, rows and totals against
the manifest and against the archives' own CSV files. At most one final manifest for each window, no
dataset without a manifest, and no gap between the windows of a definition and account.

Every archive is downloaded. The exit code is 1 if anything differs, or if the month has no window.
Windows without a final manifest are listed. Objects that have expired or are cold are listed as not
proved. Only the ledger knows the windows that are due. `status` and `bill` compare with it.
"""


@verb(help=_HELP)
@click.option("--month", metavar="MONTH", help="Only the windows of a month, like 2026-11.")
def verify(session: Session, *, month: str | None) -> Exit:
    """Print the sums of what is right, and each difference."""
    period = None if month is None else month_of(month)
    screen, target = session.screen, session.target
    screen.say(target.source)
    proof = prove(
        objects_of(session),
        period,
        expires_before=expires_before(session),
        track=lambda proofs, count: _tracked(session, proofs, count),
    )
    if screen.as_json:
        screen.document(
            {
                "source": target.source,
                "simulated": target.is_simulated,
                "period": None if period is None else period.to_dict(),
                "windows": proof.windows,
                "preliminary": [_preliminary(each) for each in proof.accounts if each.preliminary],
                "accounts": [_account(each) for each in proof.accounts],
                "archives": proof.archives,
                "bytes": proof.bytes,
                "rows": proof.rows,
                "datasets": proof.datasets,
                "totals": [
                    {"currency": currency, "total_price": plain(amount)}
                    for currency, amount in _totals(proof)
                ],
                "differences": [each.to_dict() for each in proof.differences],
                "unproved": [each.to_dict() for each in proof.unproved],
            }
        )
    of = "all time" if period is None else period.label
    screen.say(
        f"{proof.windows:,} windows of {of}. Proved: {proof.archives:,} archives "
        f"({proof.bytes / _MB:,.1f} MB) with {proof.rows:,} rows, and {proof.datasets:,} datasets."
    )
    for currency, amount in _totals(proof):
        screen.say(f"Total of the proved datasets {plain(amount)} {currency or '(no currency)'}")
    if proof.totals:
        screen.say(
            "The sums are of whole windows. A record that several definitions collect counts in "
            "each."
        )
    _list(session, "Not proved, because the object has expired or is cold:", proof.unproved)
    _list_windows(session, proof, period)
    if proof.differences:
        noun = "difference" if len(proof.differences) == 1 else "differences"
        _list(session, f"{len(proof.differences):,} {noun}:", proof.differences)
        return Exit.ATTENTION
    if not proof.windows:
        screen.say("No window is delivered here.")
        return Exit.DONE if period is None else Exit.ATTENTION
    but = (
        f", but {proof.preliminary:,} of {proof.windows:,} windows are not final"
        if proof.preliminary
        else ""
    )
    screen.say(f"Nothing differs{but}.")
    return Exit.DONE


def _list_windows(session: Session, proof: Proof, period: Period | None) -> None:
    """List the windows without a final manifest, and those that leave days of the period out."""
    screen = session.screen
    if proof.preliminary:
        screen.say("Without a final manifest, so that prices may still change:")
    for each in proof.accounts:
        if each.preliminary:
            found = Incomplete(
                each.definition, each.account_id, Flaw.PRELIMINARY, tuple(each.preliminary), None
            )
            screen.say(
                printable(f"  {each.definition}, {each.account_id}: {', '.join(found.ranges)}")
            )
    parts = [
        each
        for each in proof.accounts
        if period is not None
        and (each.windows[0].start > period.start or each.windows[-1].end < period.end)
    ]
    if parts:
        screen.say(
            "Windows of a part of the month only. `status` and `bill` know whether the rest is "
            "missing:"
        )
    for each in parts:
        dates = dict.fromkeys((each.windows[0].first_date, each.windows[-1].last_date))
        between = " to ".join(map(str, dates))
        screen.say(printable(f"  {each.definition}, {each.account_id}: {between}"))


def _account(account: Account) -> dict[str, object]:
    return {
        "definition": account.definition,
        "account_id": account.account_id,
        "windows": len(account.windows),
        "start": account.windows[0].to_dict()["start"],
        "end": account.windows[-1].to_dict()["end"],
    }


def _preliminary(account: Account) -> dict[str, object]:
    windows = [each.to_dict() for each in account.preliminary]
    return {
        "definition": account.definition,
        "account_id": account.account_id,
        "windows": [{"start": each["start"], "end": each["end"]} for each in windows],
    }


def _totals(proof: Proof) -> list[tuple[str | None, Decimal]]:
    return sorted(proof.totals.items(), key=lambda each: each[0] or "")


def _list(session: Session, head: str, found: list[Difference]) -> None:
    if found:
        session.screen.say(head)
    for each in found:
        session.screen.say(
            printable(f"  {each.definition}, {each.account_id}, {each.window}"),
            printable(f"    {each.key}: {each.reason}" if each.key else f"    {each.reason}"),
        )


def _tracked(session: Session, proofs: Iterator[Proof], count: int) -> Iterator[Proof]:
    """Show a progress bar on standard error, if it is a terminal."""
    yield from track(
        proofs,
        "Proving",
        total=count,
        console=Console(stderr=True, no_color=session.no_color or None),
        transient=True,
        disable=session.quiet or not sys.stderr.isatty(),
    )
