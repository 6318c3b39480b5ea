"""README.md and docs/: commands, links, names and limits of the pages hold against the code."""

import json
import re
import shlex
import subprocess
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path

import botocore.session
import click
import pytest
from botocore import xform_name

from local.aws_costs import COUNTERS, GB_SECOND, INVOCATION, READ_UNIT, USAGES, costs_of
from local.generate_docs import DOCS, PARTS, with_generated_parts
from local.stack.template import read_template
from tests.support.paths import ROOT
from vonage_reports.domain.metrics import ALARMING_GAUGES, CHARTED_GAUGES, UNITS
from vonage_reports.domain.settings import Settings
from vonage_reports_cli.main import VERBS, Verbs, main

TEMPLATE = read_template(ROOT / "template.yaml")
MAKEFILE = (ROOT / "Makefile").read_text()
PAGES = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in (ROOT / "README.md", *sorted(DOCS.glob("*.md")))
}
LINKED = {
    **PAGES,
    **{
        name: (ROOT / name).read_text()
        for name in ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
    },
}
every_page = pytest.mark.parametrize("page", PAGES)


def blocks(text: str, language: str) -> list[str]:
    """Return the blocks of code in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def without_blocks(text: str) -> str:
    """Return a page without its blocks of code and its comments."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)


def commands(text: str) -> Iterator[list[str]]:
    """Yield the words of each command in the blocks of shell, without the texts of files."""
    for block in blocks(text, "sh"):
        script = re.sub(r"(<<'(\w+)')\n.*?\n\2\n", r"\1\n", block, flags=re.DOTALL)
        # A comment of shlex would swallow the end of its line.
        script = re.sub(r"(^|\s)# .*$", r"\1", script, flags=re.MULTILINE)
        lexer = shlex.shlex(script.replace("\\\n", " "), posix=True, punctuation_chars="\n")
        lexer.whitespace = " \t"
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, "\n"]:
            if word.strip("\n"):
                words.append(word)
            elif words:
                yield words
                words = []


ALL_COMMANDS = [(page, words) for page in PAGES for words in commands(PAGES[page])]
PROGRAM = ("vonage-reports", ".venv/bin/vonage-reports")

# ---------------------------------------------------------------- Commands


def test_shell_blocks_are_valid_shell() -> None:
    script = "\n".join(block for text in PAGES.values() for block in blocks(text, "sh"))
    done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_commands_of_the_program_are_parsed_by_the_program(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def parsed_only(_command: click.Command, _context: click.Context) -> None:
        """Stand for the verb's function."""

    monkeypatch.setattr(click.Command, "invoke", parsed_only)
    named = [(page, words) for page, words in ALL_COMMANDS if words[0] in PROGRAM]
    assert len(named) > 40
    refused = []
    for page, words in named:
        arguments = takewhile(lambda word: word not in {"|", "<", ">", ">>"}, words[1:])
        if main([*arguments]) != 0:
            refused.append((page, words, capsys.readouterr().err))
    assert refused == []


def test_verbs_and_options_in_the_text_exist() -> None:
    program = click.Group(
        commands={name: _loaded(name) for each in VERBS.values() for name in each}
    )
    unknown = []
    for page, text in PAGES.items():
        for named in re.findall(r"`vonage-reports ([^`]+)`", without_blocks(text)):
            verb: click.Command = program
            # The placeholders of `vonage-reports VERB --help` are in capital letters.
            for word in re.findall(r"[a-z-]+", named.replace("VERB", "status")):
                if word.startswith("--"):
                    known = {option for each in verb.params for option in each.opts} | {"--help"}
                    unknown += [] if word in known | {"--stack", "--local"} else [(page, named)]
                elif isinstance(verb, click.Group):
                    found = verb.commands.get(word)
                    unknown += [] if found else [(page, named)]
                    verb = found or verb
    assert unknown == []


def test_make_commands_in_the_text_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE))
    named = re.findall(r"`make ([a-z]+)", "\n".join(map(without_blocks, PAGES.values())))
    assert "chaos" in named
    assert set(named) <= targets


def _loaded(name: str) -> click.Command:
    group = Verbs("vonage-reports")
    command = group.get_command(click.Context(group), name)
    assert command is not None
    return command


def test_every_other_command_is_known() -> None:
    targets = set(re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE))
    unknown = []
    for page, words in ALL_COMMANDS:
        match words:
            case [name, *_] if name in PROGRAM:
                is_known = True
            case ["make", target, *variables]:
                names = {each.partition("=")[0] for each in variables}
                is_known = target in targets and all(name in MAKEFILE for name in names)
            case ["pip" | "pipx" | "uv" | "export" | "cat" | "sam", *_]:
                is_known = True
            case [".venv/bin/python" | "cd", path, *_]:
                is_known = (ROOT / path).exists()
            case [first, *rest] if first.startswith("PYTHONPATH="):
                is_known = rest[:2] == [".venv/bin/python", "-m"] and find_spec(rest[2]) is not None
            case [first, *_]:
                # The options of the AWS CLI are checked below.
                is_known = (
                    first == "aws" or re.match(r"\w+=(\$\(aws|\(|[\w-]+$)", first) is not None
                )
            case _:
                is_known = False
        if not is_known:
            unknown.append((page, words))
    assert unknown == []


# Options of the AWS CLI itself, which no operation of an API has.
CLI_OPTIONS = {"query", "output"}
# The AWS CLI's own name for an input, because `--endpoint` would be short for `--endpoint-url`.
RENAMED = {"subscribe": {"notification-endpoint"}}
OF_S3 = {"cp", "ls", "rb", "rm", "sync"}


def test_every_aws_cli_command_has_valid_options() -> None:
    session = botocore.session.get_session()
    text = "\n".join(PAGES.values()).replace("\\\n", " ")
    # A command ends with its quotation, its line or its block of code.
    named = re.findall(r"\baws ([a-z0-9]+) ([a-z-]+)((?:[^`|;)\n\"]|\"[^\"]*\")*)", text)
    assert len(named) > 15
    unknown = []
    for service, operation, rest in named:
        if service == "s3":
            assert operation in OF_S3
            continue
        if operation == "wait":
            continue
        model = session.get_service_model(service.replace("s3api", "s3"))
        names = {xform_name(name, "-"): name for name in model.operation_names}
        takes = model.operation_model(names[operation]).input_shape
        assert takes is not None
        known = {xform_name(member, "-") for member in takes.members} | CLI_OPTIONS
        known |= RENAMED.get(operation, set())
        known |= {
            f"no-{xform_name(name, '-')}"
            for name, shape in takes.members.items()
            if shape.type_name == "boolean"
        }
        options = re.findall(r" --([a-z-]+)", re.sub(r'"[^"]*"', "", rest))
        unknown += [(operation, option) for option in options if option not in known]
    assert unknown == []


def test_text_to_copy_names_no_partition() -> None:
    # An account in China or of the US government has another partition than aws.
    texts = {path: path.read_text() for path in DOCS.rglob("*") if path.is_file()}
    texts |= {ROOT / name: text for name, text in LINKED.items()}
    assert len(texts) > 40
    assert [str(path) for path, text in texts.items() if re.search(r"arn:aws[a-z-]*:", text)] == []


def test_every_named_waiter_exists() -> None:
    session = botocore.session.get_session()
    named = re.findall(r"aws ([a-z0-9]+) wait ([a-z-]+)", "\n".join(PAGES.values()))
    assert named
    for service, waiter in named:
        waiters = session.get_waiter_model(service).waiter_names
        assert waiter in {xform_name(name, "-") for name in waiters}


def test_deployments_name_an_environment_and_existing_parameters() -> None:
    deployments = [
        words for _, words in ALL_COMMANDS if words[:2] in (["sam", "deploy"], ["sam", "build"])
    ]
    assert deployments
    environments = set(
        re.findall(r"^\[(\w+)\.", (ROOT / "samconfig.toml").read_text(), re.MULTILINE)
    )
    for words in deployments:
        assert words[words.index("--config-env") + 1] in environments
        if "--parameter-overrides" in words:
            given = words[words.index("--parameter-overrides") + 1]
            assert set(re.findall(r"(\w+)=", given)) <= TEMPLATE["Parameters"].keys()


def test_settings_in_commands_exist() -> None:
    named = re.findall(r"settings (?:get|set) (\w+)", "\n".join(PAGES.values()))
    # NAME and VALUE are placeholders.
    settings = set(named) - {"NAME"}
    assert settings
    assert settings <= TEMPLATE["Parameters"].keys()


# ---------------------------------------------------------------- Names


def test_cost_of_a_flood_of_callbacks_is_computed() -> None:
    day = 24 * 60 * 60
    calls = day * 1000  # of 1 ms, one at a time
    gigabytes = TEMPLATE["Resources"]["ReceiveCallbackFunction"]["Properties"]["MemorySize"] / 1024
    parts = [calls * INVOCATION, day * gigabytes * GB_SECOND, calls * READ_UNIT]
    page = PAGES["docs/security.md"]
    assert all(f"{part:.2f} USD" in page for part in parts)
    assert sum(parts) < 30
    assert "less than 30 USD a day" in page


def test_every_named_output_and_resource_exists() -> None:
    text = "\n".join(PAGES.values())
    outputs = set(re.findall(r"output `(\w+)`", text))
    assert outputs
    assert outputs <= TEMPLATE["Outputs"].keys()
    named = set(re.findall(r"--logical-resource-id (\w+)", text))
    assert named
    assert named <= TEMPLATE["Resources"].keys()


def test_every_named_event_exists() -> None:
    named = set(re.findall(r"events/\w+\.json", "\n".join(PAGES.values())))
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_every_named_source_file_exists() -> None:
    named = re.findall(r"`((?:[\w*]+/)+[\w*]+\.(?:py|yaml|toml))`", "\n".join(PAGES.values()))
    assert "domain/lifecycle.py" in named
    places = (ROOT, ROOT / "layers" / "shared" / "vonage_reports", DOCS)
    assert [name for name in named if not any(any(p.glob(name)) for p in places)] == []


def test_import_into_a_new_stack_matches_retained_resources() -> None:
    (text,) = re.findall(
        r"cat > kept\.json <<'END'\n(.*?)\nEND\n", PAGES["docs/deploy.md"], re.DOTALL
    )
    for name, resource in json.loads(text)["Resources"].items():
        kept = TEMPLATE["Resources"][name]
        assert resource["Type"] == kept["Type"]
        assert resource["DeletionPolicy"] == "Retain"
        assert kept["DeletionPolicy"] in ("Retain", "RetainExceptOnCreate")
        for key, value in resource.get("Properties", {}).items():
            assert kept["Properties"][key] == value


# ---------------------------------------------------------------- Reference tables


def rows(text: str, header: str) -> Iterator[list[str]]:
    """Yield the cells of each row of the tables whose first heading is `header`."""
    for table in re.findall(rf"^\| {header} \|.*\n\|[-|]+\n((?:\|.*\n)+)", text, re.MULTILINE):
        for row in table.splitlines():
            yield [cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]]


def test_generated_parts_are_those_of_the_code() -> None:
    # `make fmt` writes them.
    for name, parts in PARTS.items():
        page = (DOCS / name).read_text()
        assert with_generated_parts(page, parts) == page


def test_every_setting_is_documented_exactly_once() -> None:
    everything = "\n".join(PAGES.values())
    settings = Counter(row[0].strip("`") for row in rows(everything, "setting"))
    variables = Counter(row[0].strip("`") for row in rows(everything, "variable"))
    variables.update(re.findall(r"Environment: `(\w+)`", everything))
    assert settings == Counter(TEMPLATE["Parameters"].keys())
    assert variables == Counter(name.upper() for name in Settings.__dataclass_fields__)


def test_every_metric_is_documented_exactly_once_with_its_unit() -> None:
    documented = list(rows("\n".join(PAGES.values()), "metric"))
    assert Counter(row[0].strip("`*") for row in documented) == Counter(UNITS.keys())
    assert {row[0].strip("`*"): row[1] for row in documented} == UNITS


def test_costs_count_every_metric_that_a_delivered_report_emits() -> None:
    documented = list(rows(PAGES["docs/metrics.md"], "metric"))
    by_definition = {row[0].strip("`*") for row in documented if row[0].endswith("*")}
    # These are 0 for a usual report, so they are not sent.
    rare = {"ReportsFailed", "ReportsBoughtAgain", "RescuedCells"}
    assert set(COUNTERS) == by_definition - rare
    gauges = {row[0].strip("`") for row in documented if row[2] == "each sweep"}
    assert gauges == {*ALARMING_GAUGES, *CHARTED_GAUGES}


def test_costs_of_the_default_are_as_the_readme_says() -> None:
    cost = sum(costs_of(USAGES["9 daily"]).values())
    said = f"about {cost:.0f} USD a month for a million records a day, in nine daily definitions"
    assert said in PAGES["README.md"]


def test_every_alarm_is_documented_once_on_one_screen() -> None:
    alarms = [
        name
        for name, each in TEMPLATE["Resources"].items()
        if each["Type"] == "AWS::CloudWatch::Alarm"
    ]
    sections = [
        (name, text)
        for page in PAGES.values()
        for name, text in re.findall(
            r"^### (\w+Alarm)$\n(.*?)(?=^##)", page, re.DOTALL | re.MULTILINE
        )
    ]
    assert [name for name, _ in sections] == sorted(alarms)
    for name, text in sections:
        assert text.count("\n") <= 40, name
        assert blocks(text, "sh"), name
        assert "\n**Over when** " in text, name


# ---------------------------------------------------------------- Links


def anchors(text: str) -> set[str]:
    """Return the anchors that GitHub makes of a page's headings."""
    found: Counter[str] = Counter()
    names = set()
    for heading in re.findall(r"^#+ (.*)$", without_blocks(text), re.MULTILINE):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
        name = re.sub(r"[^\w -]", "", plain).replace(" ", "-")
        names.add(f"{name}-{found[name]}" if found[name] else name)
        found[name] += 1
    return names


@pytest.mark.parametrize("page", LINKED)
def test_every_link_leads_to_a_file_and_a_heading(page: str) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", without_blocks(LINKED[page])):
        if re.match(r"https://", target):
            continue
        name, _, anchor = target.partition("#")
        path = (ROOT / page).parent / name if name else ROOT / page
        is_there = path.exists() and path.resolve().is_relative_to(ROOT)
        if not is_there or (anchor and anchor not in anchors(path.read_text())):
            broken.append(target)
    assert broken == []


def test_every_page_is_linked_from_the_readme() -> None:
    linked = set(re.findall(r"\]\((docs/[\w.-]+\.md)", PAGES["README.md"]))
    assert linked == PAGES.keys() - {"README.md"}


# ---------------------------------------------------------------- Limits

LONGEST_LINE = 400  # characters
LONG_ROWS = 20


def test_readme_fits_its_limits() -> None:
    readme = PAGES["README.md"]
    assert len(readme.splitlines()) <= 130
    assert len(readme.split()) <= 900


@every_page
def test_page_has_at_most_400_lines(page: str) -> None:
    assert len(PAGES[page].splitlines()) <= 400


def test_long_lines_are_rare_rows_of_tables() -> None:
    long = [
        (page, line)
        for page, text in PAGES.items()
        for line in text.splitlines()
        if len(line) > LONGEST_LINE
    ]
    assert [(page, line) for page, line in long if not line.startswith("|")] == []
    assert len(long) <= LONG_ROWS


def sentences(text: str) -> Iterator[str]:
    """Yield the sentences of a page outside of code, tables and headings.

    A piece of code counts as one word, and a link has the words of its text.
    """
    prose = re.sub(r"^(?:\|.*|#+ .*)$", "\n", without_blocks(text), flags=re.MULTILINE)
    prose = re.sub(r"!?\[([^]]*)\]\([^)]*\)", r"\1", prose)
    prose = re.sub(r"`[^`]+`", "code", prose)
    for paragraph in re.split(r"\n\s*\n|\n\s*(?:[-*]|\d+\.) ", prose):
        for sentence in re.split(r"(?<=[.!?])[*)]*\s+", " ".join(paragraph.split())):
            if re.search(r"\w", sentence):
                yield sentence


@every_page
def test_sentences_are_short(page: str) -> None:
    lengths = {each: len(each.split()) for each in sentences(PAGES[page])}
    mean = sum(lengths.values()) / len(lengths)
    print(
        f"{page}: {len(lengths)} sentences, mean {mean:.1f} words, longest {max(lengths.values())}"
    )
    assert mean < 20
    assert [each for each, words in lengths.items() if words > 40] == []


def test_first_screen_says_what_was_never_run() -> None:
    first = "\n".join(PAGES["README.md"].splitlines()[:12])
    assert "Never run against the live Vonage API, nor on AWS itself, so not on Athena" in first
    assert Path("docs/limits.md").name in first
