import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from local.runner.options import SIMULATOR_WAIT_SCALE, Options, Server
from vonage_reports_cli.errors import BadInput

NOW = datetime(2026, 11, 22, 2, 15, 30, tzinfo=UTC)
CREDENTIALS = {"VONAGE_API_KEY": "abcd1234", "VONAGE_API_SECRET": "secret"}


def options(**environment: str) -> Options:
    return Options.from_environment(environment, now=NOW)


def test_defaults_are_the_simulator_now_with_short_waits() -> None:
    assert options(VONAGE_API_KEY="", EVENT="") == Options(
        server=None,
        event=None,
        definitions=None,
        scheduled_time="2026-11-22T02:15:30Z",
        wait_scale=SIMULATOR_WAIT_SCALE,
        confirmed=False,
        shows_keys=False,
    )


def test_credentials_alone_select_vonage_with_full_waits() -> None:
    found = options(**CREDENTIALS)
    assert found.server == Server("https://api.nexmo.com", "abcd1234", "secret")
    assert not found.server.is_on_loopback
    assert found.wait_scale == 1


@pytest.mark.parametrize(
    ("url", "is_on_loopback"),
    [
        ("http://127.0.0.1:8080", True),
        ("http://localhost:1", True),
        ("http://[::1]:1", True),
        ("https://api.nexmo.com", False),
        ("https://127.0.0.1.example.com", False),
        ("https://192.168.0.1", False),
    ],
)
def test_only_loopback_needs_no_confirmation(url: str, is_on_loopback: bool) -> None:  # noqa: FBT001 - a parameter of the test
    server = options(**CREDENTIALS, VONAGE_BASE_URL=url).server
    assert server is not None
    assert server.is_on_loopback is is_on_loopback


def test_server_name_is_one_per_host_and_key_and_hides_the_secret() -> None:
    one = Server("https://api.nexmo.com", "abcd1234", "secret")
    other_secret = Server("https://api.nexmo.com", "abcd1234", "rotated")
    names = {
        one.name,
        Server("https://api-eu.nexmo.com", "abcd1234", "secret").name,
        Server("https://api.nexmo.com", "efgh5678", "secret").name,
    }
    assert len(names) == 3
    assert one.name == other_secret.name
    assert "secret" not in repr(one) + one.name


def test_event_and_definitions_are_read_from_files(tmp_path: Path) -> None:
    event, definitions = tmp_path / "event.json", tmp_path / "definitions.json"
    event.write_text('{"sweep": true}')
    definitions.write_text('[ {"name": "x"} ]')
    found = options(
        EVENT=str(event),
        DEFINITIONS=str(definitions),
        WAIT_SCALE="0",
        CONFIRM="yes",
    )
    assert found.event == {"sweep": True}
    assert found.definitions == '[{"name":"x"}]'
    assert found.wait_scale == 0
    assert found.confirmed


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("2026-11-22T03:15:00+01:00", "2026-11-22T02:15:00Z"),
        ("0001-01-02T00:00:00Z", "0001-01-02T00:00:00Z"),
    ],
)
def test_scheduled_time_becomes_utc_with_four_digits_of_year(given: str, read: str) -> None:
    assert options(SCHEDULED_TIME=given).scheduled_time == read


def test_keys_are_shown_on_request_only() -> None:
    assert options(KEYS="1").shows_keys
    assert not options(KEYS="0").shows_keys
    with pytest.raises(BadInput, match=r"^KEYS is 'yes': use 1 for yes, or leave it out$"):
        options(KEYS="yes")


@pytest.mark.parametrize("word", ["yes", "YES", "Yes", "y", " y "])
def test_confirm_accepts_spellings_of_yes(word: str) -> None:
    assert options(CONFIRM=word).confirmed


@pytest.mark.parametrize("word", ["no", "yess", "true", "1"])
def test_confirm_accepts_nothing_else(word: str) -> None:
    assert not options(CONFIRM=word).confirmed


@pytest.mark.parametrize(
    "url",
    [
        "https://[::1",
        "https://[1:2]",
        "https://x.example:99999",
        "https://x.example:abc",
        "https://x.example:",
        "https://x.example:0",
        "https://x exam.ple",
        "https://x.example\t",
        "https:// ",
        "https://user:pass-word@x.example",
        "https://user:pass-word@x.example:99999",
        "http://user:pass-word@127.0.0.1",
        "ftp://x.example",
    ],
)
def test_error_about_a_bad_base_url_omits_the_url(url: str) -> None:
    with pytest.raises(BadInput, match="VONAGE_BASE_URL") as refused:
        options(**CREDENTIALS, VONAGE_BASE_URL=url)
    assert url not in str(refused.value)
    assert "pass-word" not in str(refused.value)


@pytest.mark.parametrize("url", ["HTTPS://API.nexmo.com/", "https://api.nexmo.com:443"])
def test_base_url_is_normalized(url: str) -> None:
    # The saved state is found by the URL: another form would buy the reports again.
    assert options(**CREDENTIALS, VONAGE_BASE_URL=url).server == options(**CREDENTIALS).server


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"VONAGE_API_KEY": "k"}, "VONAGE_API_SECRET is not set"),
        ({"VONAGE_BASE_URL": "https://x.example"}, "VONAGE_API_KEY is not set"),
        ({**CREDENTIALS, "VONAGE_BASE_URL": "x.example"}, "a scheme, a host"),
        ({**CREDENTIALS, "VONAGE_BASE_URL": "https://x.example/v2"}, "a scheme, a host"),
        ({**CREDENTIALS, "VONAGE_BASE_URL": "https://u:p@x.example"}, "a scheme, a host"),
        ({**CREDENTIALS, "VONAGE_BASE_URL": "http://x.example"}, "over https only"),
        ({"SCHEDULED_TIME": "2026-11-22T02:15:00"}, "a time like"),
        ({"SCHEDULED_TIME": "0001-01-01T00:00:00+05:00"}, "a time like"),
        ({"SCHEDULED_TIME": "2026-11-22T02:15:00Z", "EVENT": "x.json"}, "set only one"),
        ({"WAIT_SCALE": "nan"}, "a number from 0 to 1"),
        ({"WAIT_SCALE": "2"}, "a number from 0 to 1"),
        ({"EVENT": "/nowhere.json"}, "cannot be read"),
    ],
)
def test_bad_variable_is_named_in_one_sentence(environment: dict[str, str], sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        options(**environment)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("EVENT", "{", "is not JSON"),
        ("EVENT", "[" * 100_000, "is not JSON"),
        ("EVENT", "[]", "does not hold a JSON object"),
        ("EVENT", "{}", "an event takes exactly one key"),
        ("EVENT", '{"recollect": "x"}', "recollect: takes an object"),
        ("EVENT", '{"report_id": "x", "entry": "check"}', "is the input of a workflow state"),
        ("EVENT", '{"report": {}, "waited_seconds": 20}', "is the input of a workflow state"),
        ("DEFINITIONS", "{}", "does not hold a JSON list"),
        (
            "DEFINITIONS",
            json.dumps(["x" * 10**6]),
            "shorten .*: at most 2,000 definitions of 1,000",
        ),
        ("DEFINITIONS", json.dumps([{}] * 2001), "shorten .*: at most 2,000 definitions"),
    ],
)
def test_file_of_another_kind_is_refused(
    tmp_path: Path, name: str, content: str, sentence: str
) -> None:
    file = tmp_path / "file.json"
    file.write_text(content)
    with pytest.raises(BadInput, match=sentence):
        options(**{name: str(file)})


RANGE = {"definition": "x", "start": "2026-01-01", "end": "2026-02-01"}


@pytest.mark.parametrize("kind", ["backfill", "recollect"])
def test_dry_run_is_recognized_in_the_options(tmp_path: Path, kind: str) -> None:
    asked = RANGE if kind == "backfill" else {"report_id": "x"}
    path = tmp_path / "event.json"

    path.write_text(json.dumps({kind: {**asked, "dry_run": True}}))
    assert options(EVENT=str(path)).is_dry_run
    path.write_text(json.dumps({kind: asked}))
    assert not options(EVENT=str(path)).is_dry_run
    assert not options().is_dry_run
