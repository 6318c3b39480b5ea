"""`doctor`: one line for each check of a stack."""

from vonage_reports.domain.printable import printable
from vonage_reports_cli.checks import Doctor, Finding, Verdict, exit_of
from vonage_reports_cli.errors import Exit
from vonage_reports_cli.screen import Screen
from vonage_reports_cli.session import Session, verb

_STYLES = {Verdict.OK: "green", Verdict.PROBLEM: "red", Verdict.UNKNOWN: "yellow"}
_NAME_WIDTH = 20


@verb(help="Check the stack, and name the command that repairs each fault. Vonage bills nothing.")
def doctor(session: Session) -> Exit:
    """Print a line for each check, as soon as it is made."""
    stack, screen = session.deployed, session.screen
    screen.say(stack.source)
    findings = []
    for finding in Doctor(stack).findings():
        findings.append(finding)
        _print(finding, screen)
    if screen.as_json:
        checks = [each.to_dict() for each in findings]
        screen.document({"source": stack.source, "checks": checks})
    return exit_of(each.verdict for each in findings)


def _print(finding: Finding, screen: Screen) -> None:
    line = f"{finding.verdict:<8}{finding.check:<{_NAME_WIDTH}}{finding.sentence}"
    screen.say(printable(line), style=_STYLES[finding.verdict])
    if finding.command is not None:
        screen.say(f"        {printable(finding.command)}")
