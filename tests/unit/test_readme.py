"""What README.md has to be copied names what there is."""

import json
import re
from pathlib import Path

from local.template import read_template

ROOT = Path(__file__).parents[2]
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
