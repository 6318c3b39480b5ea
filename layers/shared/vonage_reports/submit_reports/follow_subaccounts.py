"""Follow the sub-accounts: read Vonage's list, keep it in the ledger, and announce its changes."""

from dataclasses import replace
from datetime import datetime, timedelta

from aws_lambda_powertools import Logger

from vonage_reports.aws.ledger import VersionConflict
from vonage_reports.aws.ledger_items import Calendar, OpenWork
from vonage_reports.domain import notifications, waits
from vonage_reports.domain.errors import RateLimited, VonageRejected, VonageUnavailable
from vonage_reports.domain.subaccounts import Subaccounts, after_answer, after_failure, news
from vonage_reports.submit_reports.context import Invocation, Services
from vonage_reports.submit_reports.read_definitions import (
    LoadedDefinitions,
    load_definitions,
)

logger = Logger(service="submit_reports", child=True)


def follow_subaccounts(
    loaded: LoadedDefinitions,
    work: OpenWork,
    calendar: Calendar,
    services: Services,
    invocation: Invocation,
    *,
    is_scheduled: bool,
    now: datetime,
) -> tuple[Calendar, LoadedDefinitions]:
    """Return calendar and definitions with Vonage's present list of sub-accounts.

    Each schedule asks Vonage, if a definition follows the list. A sweep asks if Vonage was never
    asked, or 15 minutes after a failure. A failure keeps the last good list for 7 days.

    Announces the accounts that are new or gone before the list is written, so at least once.

    Raises botocore's errors. Then the list stays as it was.
    """
    primary = services.vonage.api_key
    known = calendar.subaccounts.get(primary.lower())
    is_due = known is None or known.is_due(
        now, is_scheduled=is_scheduled, again_after=services.waits.refused
    )
    if not (loaded.follow_subaccounts and is_due and invocation.has_time_for_a_request()):
        return calendar, loaded
    after = _ask(primary, known, services, now)
    added, gone = news(known, after)
    if added or gone:
        services.topic.announce(notifications.subaccounts_changed(after.primary, added, gone))
    try:
        services.ledger.write_subaccounts(known, after)
        calendar = replace(calendar, subaccounts={**calendar.subaccounts, primary.lower(): after})
    except VersionConflict:
        # Another invocation asked too. Its list is the ledger's.
        calendar = services.ledger.calendar()
    return calendar, load_definitions(services, work, calendar)


def _ask(primary: str, known: Subaccounts | None, services: Services, now: datetime) -> Subaccounts:
    """Ask Vonage for the list. Return the list as it is then, good or not."""
    not_before = None
    try:
        return after_answer(known, services.vonage.list_subaccounts(primary), now)
    except RateLimited as error:
        not_before, reason = now + timedelta(seconds=waits.after_429(error)), str(error)
    except VonageRejected as error:
        reason = (
            f"{error}. Vonage opens its Subaccounts API to a primary account on request; or list "
            "the accounts in account_ids"
        )
    except VonageUnavailable as error:
        reason = str(error)
    logger.warning("the list of sub-accounts is not read", extra={"reason": reason})
    return after_failure(known, primary, reason, now, not_before=not_before)
