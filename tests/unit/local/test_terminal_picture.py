"""The picture of commands on a terminal."""

import re
from html import unescape
from xml.etree import ElementTree as ET

from local.terminal_picture import picture
from tests.support.paths import ROOT
from vonage_reports import __version__

SVG = "{http://www.w3.org/2000/svg}"


def text_of(svg: str) -> str:
    """Return the text of a picture, with plain spaces."""
    # The picture is our own. It has no entity that could grow.
    texts = ET.fromstring(svg).iter(f"{SVG}text")  # noqa: S314
    return "\n".join(unescape(each.text or "").replace("\xa0", " ") for each in texts)


def test_picture_has_the_command_and_its_output() -> None:
    text = text_of(picture(["--version", "no-such-verb"]))

    assert "$ vonage-reports --local --version" in text
    assert f"vonage-reports {__version__}" in text
    # Standard error is on the terminal too.
    assert "no-such-verb" in text.split("$ vonage-reports --local no-such-verb")[1]


def test_picture_of_the_readme_loads_nothing_and_shows_results() -> None:
    svg = (ROOT / "docs" / "images" / "result.svg").read_text()

    # GitHub shows no picture that needs fonts or scripts from elsewhere.
    assert set(re.findall(r"(?:href|src|url)\s*[=(]\s*[\"']?(?!#)(\S+)", svg)) == set()
    assert "<script" not in svg
    assert "Nothing differs." in text_of(svg)
    assert "Proving" not in text_of(svg)
