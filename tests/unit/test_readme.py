"""The commands and names in README.md exist in the template, the code and the AWS CLI."""

import json
import re
import subprocess

import botocore.session
from botocore import xform_name

from local.stack.template import read_template
from tests.support.paths import ROOT

README = (ROOT / "README.md").read_text()
TEMPLATE = read_template(ROOT / "template.yaml")


def test_every_output_in_a_command_exists() -> None:
    outputs = set(re.findall(r"\$\(output (\w+)\)", README))
    assert outputs
    assert outputs <= TEMPLATE["Outputs"].keys()


def test_every_parameter_in_a_command_exists() -> None:
    commands = re.findall(r"--parameter-overrides [\"']?((?:\w+=\S+ ?)+)", README)
    assert commands
    for command in commands:
        assert set(re.findall(r"(\w+)=", command)) <= TEMPLATE["Parameters"].keys()


def test_every_named_event_exists() -> None:
    named = set(re.findall(r"events/\w+\.json", README))
    assert named
    assert all((ROOT / name).exists() for name in named)


def test_import_into_a_new_stack_matches_retained_resources() -> None:
    (text,) = re.findall(r"cat > kept\.json <<'END'\n(.*?)\nEND\n", README, re.DOTALL)
    for name, resource in json.loads(text)["Resources"].items():
        kept = TEMPLATE["Resources"][name]
        assert resource["Type"] == kept["Type"]
        assert resource["DeletionPolicy"] == kept["DeletionPolicy"] == "Retain"
        for key, value in resource.get("Properties", {}).items():
            assert kept["Properties"][key] == value


def code(language: str) -> list[str]:
    """Return the blocks of code in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def test_shell_blocks_are_valid_shell() -> None:
    script = "\n".join(code("sh"))
    assert "output()" in script
    done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# Options of the AWS CLI itself, which no operation of an API has.
CLI_OPTIONS = {"query", "output", "cli-read-timeout", "cli-binary-format"}
CUSTOM = {("logs", "tail"), ("s3", "rb"), ("cloudformation", "wait")}


def test_every_aws_cli_command_has_valid_options() -> None:
    session = botocore.session.get_session()
    # A command ends with its quotation, its line or its block of code.
    commands = re.findall(
        r"\baws ([a-z0-9]+) ([a-z-]+)((?:[^`|;)\n\"]|\"[^\"]*\")*)", README.replace("\\\n", " ")
    )
    assert len(commands) > 20
    unknown = []
    for service, operation, rest in commands:
        if (service, operation) in CUSTOM:
            continue
        model = session.get_service_model(service.replace("s3api", "s3"))
        names = {xform_name(name, "-"): name for name in model.operation_names}
        takes = model.operation_model(names[operation]).input_shape
        assert takes is not None
        known = {xform_name(member, "-") for member in takes.members} | CLI_OPTIONS
        options = re.findall(r" --([a-z-]+)", re.sub(r'"[^"]*"', "", rest))
        unknown += [(operation, option) for option in options if option not in known]
    assert unknown == []


def test_every_named_waiter_exists() -> None:
    waiters = botocore.session.get_session().get_waiter_model("cloudformation").waiter_names
    named = re.findall(r"aws cloudformation wait ([a-z-]+)", README)
    assert named
    assert set(named) <= {xform_name(name, "-") for name in waiters}


def test_every_log_in_a_command_exists() -> None:
    named = set(re.findall(r"`log (\w+)`", README))
    assert named
    assert {f"{name}Logs" for name in named} <= TEMPLATE["Resources"].keys()


def test_every_template_parameter_is_in_the_settings() -> None:
    (settings,) = re.findall(r"^## Settings$(.*?)^## ", README, re.DOTALL | re.MULTILINE)
    named = {name for row in settings.splitlines() for name in re.findall(r"`(\w+)`", row)}
    assert TEMPLATE["Parameters"].keys() <= named
    for name in re.findall(r"set_parameter (\w+)", README):
        assert name in TEMPLATE["Parameters"]


def test_every_internal_link_leads_to_a_heading() -> None:
    headings = re.findall(r"^#+ (.*)$", README, re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9 -]", "", each.lower()).replace(" ", "-") for each in headings}
    linked = set(re.findall(r"\]\(#([^)]+)\)", README))
    assert linked
    # The descriptions of the alarms name this heading.
    assert linked | {"when-an-alarm-goes-off"} <= anchors


def test_every_named_source_file_exists() -> None:
    named = re.findall(r"`((?:[\w*]+/)*[\w*]+\.(?:py|yaml|toml))`", README)
    assert "domain/lifecycle.py" in named
    places = (ROOT, ROOT / "layers" / "shared" / "vonage_reports")
    assert [name for name in named if not any(any(p.glob(name)) for p in places)] == []
