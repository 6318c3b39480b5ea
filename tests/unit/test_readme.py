"""What README.md has to be copied names what there is."""

import json
import re
import subprocess

import botocore.session
from botocore import xform_name

from local.stack.template import read_template
from tests.support.paths import ROOT

README = (ROOT / "README.md").read_text()
TEMPLATE = read_template(ROOT / "template.yaml")


def test_every_output_that_a_command_asks_for_is_the_templates() -> None:
    asked = set(re.findall(r"\$\(output (\w+)\)", README))
    assert asked
    assert asked <= TEMPLATE["Outputs"].keys()


def test_every_parameter_that_a_command_sets_is_the_templates() -> None:
    commands = re.findall(r"--parameter-overrides [\"']?((?:\w+=\S+ ?)+)", README)
    assert commands
    for command in commands:
        assert set(re.findall(r"(\w+)=", command)) <= TEMPLATE["Parameters"].keys()


def test_every_event_that_is_named_is_there() -> None:
    named = set(re.findall(r"events/\w+\.json", README))
    assert named
    assert all((ROOT / name).exists() for name in named)


def test_what_is_imported_into_a_new_stack_is_what_the_template_keeps() -> None:
    (text,) = re.findall(r"cat > kept\.json <<'END'\n(.*?)\nEND\n", README, re.DOTALL)
    for name, resource in json.loads(text)["Resources"].items():
        kept = TEMPLATE["Resources"][name]
        assert resource["Type"] == kept["Type"]
        assert resource["DeletionPolicy"] == kept["DeletionPolicy"] == "Retain"
        for key, value in resource.get("Properties", {}).items():
            assert kept["Properties"][key] == value


def code(language: str) -> list[str]:
    """What stands in blocks of code."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def test_what_is_copied_into_a_shell_is_shell() -> None:
    script = "\n".join(code("sh"))
    assert "output()" in script
    done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# Of the AWS CLI itself: no operation of an API has them.
OF_THE_CLI = {"query", "output", "cli-read-timeout", "cli-binary-format"}
CUSTOM = {("logs", "tail"), ("s3", "rb"), ("cloudformation", "wait")}


def test_every_command_of_the_aws_cli_names_an_operation_and_its_options() -> None:
    session = botocore.session.get_session()
    # A command ends where its quotation, its line or its code does.
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
        known = {xform_name(member, "-") for member in takes.members} | OF_THE_CLI
        options = re.findall(r" --([a-z-]+)", re.sub(r'"[^"]*"', "", rest))
        unknown += [(operation, option) for option in options if option not in known]
    assert unknown == []


def test_every_waiter_is_there() -> None:
    waiters = botocore.session.get_session().get_waiter_model("cloudformation").waiter_names
    named = re.findall(r"aws cloudformation wait ([a-z-]+)", README)
    assert named
    assert set(named) <= {xform_name(name, "-") for name in waiters}


def test_every_log_that_a_command_shows_is_the_templates() -> None:
    named = set(re.findall(r"`log (\w+)`", README))
    assert named
    assert {f"{name}Logs" for name in named} <= TEMPLATE["Resources"].keys()


def test_every_parameter_of_the_template_is_among_the_settings() -> None:
    (settings,) = re.findall(r"^## Settings$(.*?)^## ", README, re.DOTALL | re.MULTILINE)
    named = {name for row in settings.splitlines() for name in re.findall(r"`(\w+)`", row)}
    assert TEMPLATE["Parameters"].keys() <= named
    for name in re.findall(r"set_parameter (\w+)", README):
        assert name in TEMPLATE["Parameters"]


def test_every_link_within_leads_to_a_heading() -> None:
    headings = re.findall(r"^#+ (.*)$", README, re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9 -]", "", each.lower()).replace(" ", "-") for each in headings}
    linked = set(re.findall(r"\]\(#([^)]+)\)", README))
    assert linked
    # The descriptions of the alarms name this one.
    assert linked | {"when-an-alarm-goes-off"} <= anchors


def test_every_file_of_the_code_that_is_named_is_there() -> None:
    named = re.findall(r"`((?:[\w*]+/)*[\w*]+\.(?:py|yaml|toml))`", README)
    assert "domain/lifecycle.py" in named
    places = (ROOT, ROOT / "layers" / "shared" / "vonage_reports")
    assert [name for name in named if not any(any(p.glob(name)) for p in places)] == []
