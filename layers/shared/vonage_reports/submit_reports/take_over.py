"""Take over the definitions of a stack that had them in the SSM parameter.

Operators used to edit the parameter. A deployment may have written the template's value over their
definitions, but the parameter's history still has them.
"""

from vonage_reports.aws.ledger_items import Calendar, OpenWork
from vonage_reports.domain import notifications
from vonage_reports.domain.definitions import Refusal
from vonage_reports.domain.removal import listing_of
from vonage_reports.submit_reports.context import Services
from vonage_reports.submit_reports.read_definitions import (
    EVERY_DEFINITION,
    LoadedDefinitions,
    collected_names,
    load_definitions,
    parse_definitions,
)

CHECKED = "definitions#checked"
"""The record that the parameter's history needs no look. From then on, the parameter counts."""

_TAKEN_OVER = "definitions#taken-over"

_CREATED = 1
"""The number of a parameter's first version."""


def taken_over_definitions(
    services: Services, work: OpenWork, calendar: Calendar
) -> LoadedDefinitions:
    """Read the definitions, in the first pass after an update from the parameter's history.

    If the parameter differs from the template's value, an operator edited it last, and it becomes
    the object. Otherwise a deployment may have written it last. Then the newest edited version that
    has every collected definition becomes the object. Without such a version, the parameter counts
    if it has every collected definition. Otherwise the whole list is refused.

    Raises:
        InvalidRequest: the secret, whose API key is the default account, is unusable.
        ClientError, BotoCoreError: AWS refused a call.
    """
    if (
        CHECKED not in work.announced
        and calendar.cursors
        and services.definitions.read_object() is None
    ):
        refusal = _take_over(services, collected_names(work, calendar))
        if refusal is not None:
            _, changed_at = services.definitions.parameter.read()
            return LoadedDefinitions([], [refusal], changed_at)
    return load_definitions(services, work, calendar)


def finish_take_over(loaded: LoadedDefinitions, work: OpenWork, services: Services) -> None:
    """Announce once that a version of the parameter became the object, and look no more."""
    if CHECKED not in work.announced and loaded.is_readable:
        services.ledger.mark_announced(CHECKED)
    if loaded.taken_over is not None and _TAKEN_OVER not in work.announced:
        uri = services.definitions.uri
        services.topic.announce(notifications.taken_over(loaded.taken_over, uri))
        services.ledger.mark_announced(_TAKEN_OVER)


def _take_over(services: Services, collected: set[str]) -> Refusal | None:
    """Write the object, or return a refusal if no version has every collected definition."""
    parameter = services.definitions.parameter
    of_template, versions = parameter.of_template(), parameter.versions()
    (newest, current), *_ = versions
    edited = [
        # CloudFormation created the parameter, so no operator wrote the first version.
        (version, text)
        for version, text in versions
        if version > _CREATED and text != of_template
    ]
    for version, text in edited:
        if version == newest or collected <= _names(text):
            services.definitions.take_over(text, version)
            return None
    missing = sorted(collected - _names(current))
    if not missing:
        return None
    return Refusal(
        EVERY_DEFINITION,
        "(list)",
        f"the parameter {parameter.name} lacks definitions that were collected, such as "
        f"{missing[0]}, and so does every version that a deployment did not write. Nothing is "
        f"planned. Write your definitions as {services.definitions.uri}",
    )


def _names(text: str) -> set[str]:
    """Return the names in a version of the parameter, none if some are unknown."""
    listing = listing_of(*parse_definitions(text, api_key=""))
    return set() if listing is None else set(listing.accounts)
