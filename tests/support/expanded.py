"""The resources of the template as CloudFormation gets them, after SAM's transform."""

from typing import Any

import boto3
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator

from local.stack.template import read_template
from tests.support.paths import ROOT

SAMS_OWN = {
    "AWSLambdaBasicExecutionRole",  # every log group; DenyOtherLogGroups denies all but one
    "AWSXrayWriteOnlyAccess",  # its actions support no resource-level permissions
}
"""The managed policies that SAM attaches."""


def expanded_resources() -> dict[str, dict[str, Any]]:
    """Return the resources by logical id."""
    template = read_template(ROOT / "template.yaml")
    for resource in template["Resources"].values():
        properties = resource.get("Properties", {})
        for name in {"CodeUri", "ContentUri", "DefinitionUri"} & set(properties):
            properties[name] = "s3://bucket/key"
    managed = {name: f"arn:aws:iam::aws:policy/{name}" for name in SAMS_OWN}
    translator = Translator(managed, Parser(), boto_session=boto3.Session(region_name="eu-west-1"))
    resources: dict[str, dict[str, Any]] = translator.translate(template, {})["Resources"]
    return resources
