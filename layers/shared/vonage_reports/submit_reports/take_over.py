"""Take over the definitions of a stack that had them in the SSM parameter.

Operators used to edit the parameter. A deployment may have written the template's value over their
definitions, but the parameter's history still has them.
"""

from dataclasses import dataclass

from vonage_reports.aws.definitions_source import DefinitionsSource
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


@dataclass(frozen=True)
class Version:
    """A version of the parameter, which is to become the object."""

    number: int
    text: str


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
    found = pending_take_over(services.definitions, work, calendar)
    if isinstance(found, Refusal):
        _, changed_at = services.definitions.parameter.read()
        return LoadedDefinitions([], [found], changed_at)
    if found is not None:
        services.definitions.take_over(found.text, found.number)
    return load_definitions(services, work, calendar)


def finish_take_over(loaded: LoadedDefinitions, work: OpenWork, services: Services) -> None:
    """Announce once that a version of the parameter became the object, and look no more."""
    if CHECKED not in work.announced and loaded.is_readable:
        services.ledger.mark_announced(CHECKED)
    if loaded.taken_over is not None and _TAKEN_OVER not in work.announced:
        uri = services.definitions.uri
        services.topic.announce(notifications.taken_over(loaded.taken_over, uri))
        services.ledger.mark_announced(_TAKEN_OVER)


def pending_take_over(
    source: DefinitionsSource, work: OpenWork, calendar: Calendar
) -> Version | Refusal | None:
    """Return the version that the next pass takes over, or the refusal of the whole list.

    Return None if the definitions count as they are. Raises botocore's errors.
    """
    if CHECKED in work.announced or not calendar.cursors or source.read_object() is not None:
        return None
    collected = collected_names(work, calendar)
    parameter = source.parameter
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
            return Version(version, text)
    missing = sorted(collected - _names(current))
    if not missing:
        return None
    return Refusal(
        EVERY_DEFINITION,
        "(list)",
        f"the parameter {parameter.name} lacks definitions that were collected, such as "
        f"{missing[0]}, and so does every version that a deployment did not write. Nothing is "
        f"planned. Write your definitions as {source.uri}",
    )


def _names(text: str) -> set[str]:
    """Return the names in a version of the parameter, none if some are unknown."""
    listing = listing_of(*parse_definitions(text, api_key=""))
    return set() if listing is None else set(listing.accounts)
