import ast
import json
import re
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

import pytest
import yaml

from local.generate_template import BEGIN, END, with_generated_parts
from local.stack.template import read_template
from tests.support.expanded import SAMS_OWN, expanded_resources
from tests.support.paths import ROOT
from tests.support.run_input import RUN_INPUT
from vonage_dataset.tables import TABLES
from vonage_reports.aws.error_messages import VARIABLES
from vonage_reports.aws.ssm import OF_TEMPLATE
from vonage_reports.domain.catalogue import table_name
from vonage_reports.domain.objects import DEFINITIONS_KEY, dataset_key
from vonage_reports.domain.settings import Settings
from vonage_reports.submit_reports.context import Invocation
from vonage_reports.submit_reports.read_definitions import parse_definitions

WORKFLOW = yaml.safe_load((ROOT / "functions" / "report_workflow.asl.yaml").read_text())
TEMPLATE = read_template(ROOT / "template.yaml")
PARAMETERS: dict[str, Any] = TEMPLATE["Parameters"]
RESOURCES: dict[str, dict[str, Any]] = TEMPLATE["Resources"]
GLOBALS: dict[str, Any] = TEMPLATE["Globals"]["Function"]

# These actions support no resource-level permissions:
# https://docs.aws.amazon.com/step-functions/latest/dg/cw-logs.html
LOG_DELIVERY = {
    "logs:CreateLogDelivery",
    "logs:GetLogDelivery",
    "logs:UpdateLogDelivery",
    "logs:DeleteLogDelivery",
    "logs:ListLogDeliveries",
    "logs:PutResourcePolicy",
    "logs:DescribeResourcePolicies",
    "logs:DescribeLogGroups",
}


def of_type(kind: str) -> dict[str, dict[str, Any]]:
    return {
        name: resource["Properties"]
        for name, resource in RESOURCES.items()
        if resource["Type"] == kind and "Properties" in resource
    }


NO_VALUE = {"Ref": "AWS::NoValue"}

FUNCTIONS = of_type("AWS::Serverless::Function")
SCHEDULES = {
    f"{function}.{name}": event["Properties"]
    for function, properties in FUNCTIONS.items()
    for name, event in properties.get("Events", {}).items()
    if event["Type"] == "ScheduleV2"
}
every_function = pytest.mark.parametrize("name", FUNCTIONS)
every_schedule = pytest.mark.parametrize("name", SCHEDULES)


CONNECT = ROOT / "layers/shared/vonage_reports/connect.py"


def handler(name: str) -> ast.Module:
    source: Path = ROOT / FUNCTIONS[name]["CodeUri"] / "app.py"
    return ast.parse(source.read_text())


def variables_read(name: str) -> set[str]:
    """Return the variables that a handler and its Vonage client read."""
    modules = [handler(name)]
    if "vonage_client" in ast.unparse(modules[0]):
        modules.append(ast.parse(CONNECT.read_text()))
    return {
        node.slice.value
        for module in modules
        for node in ast.walk(module)
        if isinstance(node, ast.Subscript)
        and ast.unparse(node.value) in ("os.environ", "environment")
        and isinstance(node.slice, ast.Constant)
        and isinstance(node.slice.value, str)
    }


def variables_set(name: str) -> set[str]:
    return set(FUNCTIONS[name].get("Environment", {}).get("Variables", {}))


def resolved(value: Any, conditions: AbstractSet[str]) -> Any:
    """Return a value with each Fn::If resolved, where exactly these conditions hold."""
    if isinstance(value, dict):
        if "Fn::If" in value:
            condition, then, otherwise = value["Fn::If"]
            return resolved(then if condition in conditions else otherwise, conditions)
        taken = {name: resolved(each, conditions) for name, each in value.items()}
        return {name: each for name, each in taken.items() if each != NO_VALUE}
    if isinstance(value, list):
        return [each for each in (resolved(one, conditions) for one in value) if each != NO_VALUE]
    return value


def statements(*conditions: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each statement of the template's roles, with the resource that has the role."""
    resources = resolved(RESOURCES, set(conditions))
    for name, resource in resources.items():
        for policy in resource.get("Properties", {}).get("Policies", []):
            written = resources[policy["Ref"]]["Properties"] if "Ref" in policy else policy
            for statement in written.get("PolicyDocument", written)["Statement"]:
                yield name, statement


STATEMENTS = [
    pytest.param(name, statement, id=f"{name}-{statement['Sid']}")
    for name, statement in statements("HasKmsKey", "LogWorkflow", "HasCatalogue", "HasCallback")
    if statement["Effect"] == "Allow"
]
every_statement = pytest.mark.parametrize(("name", "statement"), STATEMENTS)


def many(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


@every_function
def test_function_gets_exactly_the_environment_it_reads(name: str) -> None:
    optional = {each.upper() for each in vars(Settings())}

    assert variables_read(name) == variables_set(name) - optional


@every_function
def test_missing_variables_have_an_error_message(name: str) -> None:
    assert variables_read(name) <= VARIABLES


def test_functions_match_the_folders_under_functions() -> None:
    folders = {path.parent.name for path in (ROOT / "functions").glob("*/app.py")}

    assert {properties["CodeUri"] for properties in FUNCTIONS.values()} == {
        f"functions/{folder}" for folder in folders
    }
    assert set(FUNCTIONS) == {f"{folder.title().replace('_', '')}Function" for folder in folders}


@every_function
def test_lambda_finds_the_handler(name: str) -> None:
    [module, function] = FUNCTIONS[name].get("Handler", GLOBALS["Handler"]).split(".")

    assert module == "app"
    assert function in {
        node.name for node in handler(name).body if isinstance(node, ast.FunctionDef)
    }


@every_function
def test_function_sets_time_out_and_log_group(name: str) -> None:
    properties = FUNCTIONS[name]

    assert 60 <= properties["Timeout"] <= 900
    assert GLOBALS["Tracing"] == "Active"
    log_group = properties["LoggingConfig"]["LogGroup"]["Ref"]
    assert RESOURCES[log_group]["Properties"]["RetentionInDays"] == {"Ref": "LogRetentionDays"}


def test_submit_reports_has_a_minute_to_settle() -> None:
    seconds = FUNCTIONS["SubmitReportsFunction"]["Timeout"]

    assert Invocation("one", lambda: seconds - 60).has_time_to_settle()


@every_schedule
def test_schedules_deploy_twice_and_keep_failed_events(name: str) -> None:
    schedule = SCHEDULES[name]

    assert schedule["OmitName"] is True
    assert schedule["GroupName"] == {"Ref": "ScheduleGroup"}
    # CloudFormation fails to move the schedules that earlier versions had under these names.
    assert name.partition(".")[2] not in ("Calendar", "Sweep")
    # The limits of EventBridge Scheduler.
    assert 60 <= schedule["RetryPolicy"]["MaximumEventAgeInSeconds"] <= 86_400
    assert 1 <= schedule["RetryPolicy"]["MaximumRetryAttempts"] <= 185
    assert schedule["DeadLetterConfig"]["Arn"] == {"Fn::GetAtt": ["UndeliveredEventsQueue", "Arn"]}


def test_calendar_sends_the_scheduled_time_in_its_time_zone() -> None:
    calendar = SCHEDULES["SubmitReportsFunction.CalendarSchedule"]

    assert calendar["ScheduleExpressionTimezone"] == {"Ref": "ScheduleTimeZone"}
    assert json.loads(calendar["Input"]) == {"scheduled_time": "<aws.scheduler.scheduled-time>"}


def test_sweep_runs_every_five_minutes_without_a_calendar() -> None:
    sweep = SCHEDULES["SubmitReportsFunction.SweepSchedule"]

    assert sweep["ScheduleExpression"] == "rate(5 minutes)"
    assert json.loads(sweep["Input"]) == {"sweep": True}
    assert "State" not in sweep


def test_end_of_a_run_triggers_submit_reports() -> None:
    rule = FUNCTIONS["SubmitReportsFunction"]["Events"]["RunEnded"]["Properties"]

    assert rule["Pattern"] == {
        "source": ["aws.states"],
        "detail-type": ["Step Functions Execution Status Change"],
        "detail": {
            "stateMachineArn": [{"Ref": "ReportWorkflow"}],
            "status": ["SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED"],
        },
    }
    assert rule["DeadLetterConfig"]["Arn"] == {"Fn::GetAtt": ["UndeliveredEventsQueue", "Arn"]}


@pytest.mark.parametrize("name", of_type("AWS::Serverless::LayerVersion"))
def test_layers_are_built_for_the_functions_processor(name: str) -> None:
    # Otherwise an arm64 function could get binaries for the processor of the build machine.
    assert RESOURCES[name]["Metadata"]["BuildArchitecture"] == {"Ref": "Architecture"}
    assert RESOURCES[name]["Properties"]["CompatibleArchitectures"] == [{"Ref": "Architecture"}]
    assert GLOBALS["Architectures"] == [{"Ref": "Architecture"}]


@pytest.mark.parametrize(
    ("name", "policy"),
    [
        ("ReportsBucket", "RetainExceptOnCreate"),
        ("VonageSecret", "RetainExceptOnCreate"),
        # The rollback of a first deployment could not delete a protected table.
        ("LedgerTable", "Retain"),
    ],
)
def test_paid_data_outlives_the_stack(name: str, policy: str) -> None:
    assert RESOURCES[name]["DeletionPolicy"] == policy
    assert RESOURCES[name]["UpdateReplacePolicy"] == "Retain"


def test_ledger_table_is_protected_from_deletion() -> None:
    assert RESOURCES["LedgerTable"]["Properties"]["DeletionProtectionEnabled"] is True


def test_bucket_is_private_and_versioned() -> None:
    bucket = RESOURCES["ReportsBucket"]["Properties"]

    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
    assert bucket["OwnershipControls"] == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}


def rules(*conditions: str) -> dict[str, dict[str, Any]]:
    """Return the lifecycle rules of the bucket by their ids."""
    bucket = resolved(RESOURCES["ReportsBucket"]["Properties"], set(conditions))
    return {rule.pop("Id"): rule for rule in bucket["LifecycleConfiguration"]["Rules"]}


KEPT_FOR_A_WHILE = ("archives", "data", "unreadable", "manifests", "headers", "periods")


def test_every_version_of_the_definitions_is_kept() -> None:
    removing = [
        rule["Prefix"]
        for rule in rules("ArchivesGetCold", "ArchivesExpire", "DatasetExpires").values()
        if "AbortIncompleteMultipartUpload" not in rule
    ]
    assert set(removing) == {f"{name}/" for name in (*KEPT_FOR_A_WHILE, "refused")}
    assert not any(DEFINITIONS_KEY.startswith(prefix) for prefix in removing)


def test_no_update_of_cloudformation_writes_the_definitions() -> None:
    # CloudFormation writes parameters at any update, and no object of a bucket.
    writers = {
        name
        for name, resource in RESOURCES.items()
        if {"Ref": "ReportDefinitions"} in resource.get("Properties", {}).values()
    }
    assert writers == {"DefinitionsParameter", "TemplateDefinitionsParameter"}
    assert {RESOURCES[name]["Type"] for name in writers} == {"AWS::SSM::Parameter"}
    assert RESOURCES["TemplateDefinitionsParameter"]["Properties"]["Name"] == {
        "Fn::Sub": RESOURCES["DefinitionsParameter"]["Properties"]["Name"]["Fn::Sub"] + OF_TEMPLATE
    }
    assert TEMPLATE["Outputs"]["DefinitionsUri"]["Value"] == {
        "Fn::Sub": f"s3://${{ReportsBucket}}/{DEFINITIONS_KEY}"
    }


def test_archives_expire_only_when_configured() -> None:
    always = rules()
    assert always.pop("refused-archives-expire") == {
        "Status": "Enabled",
        "Prefix": "refused/",
        "ExpirationInDays": 30,
        "NoncurrentVersionExpiration": {"NoncurrentDays": 1},
    }
    dropped = {f"drop-what-was-replaced-in-{name}" for name in KEPT_FOR_A_WHILE}
    assert always.keys() == {"drop-what-a-killed-function-left", *dropped}
    assert not any({"ExpirationInDays", "Transitions"} & set(rule) for rule in always.values())
    added = rules("ArchivesGetCold", "ArchivesExpire")
    new = added.keys() - always.keys()
    assert {added[name]["Prefix"] for name in new} == {"archives/", "refused/"}


def test_dataset_expires_with_its_unreadable_rows_only_when_configured() -> None:
    added = rules("DatasetExpires")
    new = [added[name] for name in added.keys() - rules().keys()]
    assert {rule["Prefix"] for rule in new} == {"data/", "unreadable/"}
    assert [rule["ExpirationInDays"] for rule in new] == [{"Ref": "DatasetExpiryDays"}] * 2


def test_cold_archives_need_no_restore() -> None:
    # https://docs.aws.amazon.com/AmazonS3/latest/userguide/storage-class-intro.html
    assert set(PARAMETERS["ArchiveColdClass"]["AllowedValues"]) <= {"STANDARD_IA", "GLACIER_IR"}


RESOURCE_POLICIES = [
    *of_type("AWS::S3::BucketPolicy").values(),
    *of_type("AWS::SNS::TopicPolicy").values(),
    *of_type("AWS::SQS::QueuePolicy").values(),
]


def test_bucket_topics_and_queue_refuse_plain_http() -> None:
    denied = [
        (*many(each["Resource"]), each["Condition"])
        for policy in RESOURCE_POLICIES
        for each in policy["PolicyDocument"]["Statement"]
        if (each["Effect"], each["Principal"]) == ("Deny", "*")
    ]

    assert {json.dumps(resources[0]) for resources in denied} == {
        '{"Fn::GetAtt": ["ReportsBucket", "Arn"]}',
        '{"Ref": "ReportsTopic"}',
        '{"Ref": "AlarmTopic"}',
        '{"Fn::GetAtt": ["UndeliveredEventsQueue", "Arn"]}',
    }
    assert {json.dumps(each[-1]) for each in denied} == {
        '{"Bool": {"aws:SecureTransport": "false"}}'
    }


def test_wildcard_principals_are_only_denied() -> None:
    for policy in RESOURCE_POLICIES:
        for statement in policy["PolicyDocument"]["Statement"]:
            if statement["Effect"] == "Allow":
                assert "*" not in str(statement["Principal"])
                assert statement["Condition"]


def test_workflow_logs_errors_without_data() -> None:
    logging = resolved(RESOURCES["ReportWorkflow"]["Properties"], {"LogWorkflow"})["Logging"]

    # A definition's filters may hold phone numbers.
    assert (logging["Level"], logging["IncludeExecutionData"]) == ("ERROR", False)


def test_workflow_without_logs_needs_no_log_delivery() -> None:
    found = {
        name: [each for each in statements(*conditions) if each[1]["Sid"] == "DeliverLogs"]
        for name, conditions in {"on": ["LogWorkflow"], "off": []}.items()
    }

    assert [set(each["Action"]) for _, each in found["on"]] == [LOG_DELIVERY]
    assert found["off"] == []
    # Step Functions keeps its logging if an update leaves the property out.
    logging = resolved(RESOURCES["ReportWorkflow"]["Properties"], set())["Logging"]
    assert logging == {"Level": "OFF", "IncludeExecutionData": False}
    assert RESOURCES["WorkflowLogs"]["Condition"] == "LogWorkflow"
    # The setting is all that refers to the log group.
    of_workflow = resolved(RESOURCES["ReportWorkflow"], set())
    assert "WorkflowLogs" not in str(of_workflow)


@pytest.mark.parametrize(
    ("name", "property_", "physical_name"),
    [
        ("WorkflowLogs", "LogGroupName", "/aws/vendedlogs/states/${AWS::StackName}"),
        ("Dashboard", "DashboardName", "${AWS::StackName}-${AWS::Region}"),
    ],
)
def test_update_of_version_0_1_keeps_log_group_and_dashboard(
    name: str, property_: str, physical_name: str
) -> None:
    # Another logical id would delete the log group with its lines. A logical id that changes under
    # the same physical name would fail the update.
    assert RESOURCES[name]["Properties"][property_] == {"Fn::Sub": physical_name}


SWITCHES = {
    "WorkflowLog": "LogWorkflow",
    "UsageDashboard": "ShowDashboard",
    "DetailedMetrics": None,
}


@pytest.mark.parametrize(("name", "condition"), SWITCHES.items())
def test_optional_parts_are_on_by_default(name: str, condition: str | None) -> None:
    assert (PARAMETERS[name]["Default"], PARAMETERS[name]["AllowedValues"]) == ("on", ["on", "off"])
    if condition is not None:
        assert TEMPLATE["Conditions"][condition] == {"Fn::Equals": [{"Ref": name}, "on"]}


def test_functions_that_name_a_definition_know_detailed_metrics() -> None:
    names = {name for name in FUNCTIONS if "DETAILED_METRICS" in variables_set(name)}

    assert names == {"SubmitReportsFunction", "StoreReportFunction"}
    for name in names:
        assert FUNCTIONS[name]["Environment"]["Variables"]["DETAILED_METRICS"] == {
            "Ref": "DetailedMetrics"
        }


def test_data_is_encrypted_without_a_customer_key_too() -> None:
    of = {name: each.get("Properties", {}) for name, each in resolved(RESOURCES, set()).items()}

    assert keys_of(of["ReportsBucket"], "SSEAlgorithm") == ["AES256"]
    assert of["UndeliveredEventsQueue"]["SqsManagedSseEnabled"] is True
    assert of["ReportsTopic"]["KmsMasterKeyId"] == "alias/aws/sns"
    # CloudWatch cannot publish alarms to a topic with that key:
    # https://repost.aws/knowledge-center/cloudwatch-configure-alarm-sns
    assert "KmsMasterKeyId" not in of["AlarmTopic"]


# Customer key

KEY_PROPERTIES = {
    "AWS::S3::Bucket": "KMSMasterKeyID",
    "AWS::DynamoDB::Table": "KMSMasterKeyId",
    "AWS::SNS::Topic": "KmsMasterKeyId",
    "AWS::SQS::Queue": "KmsMasterKeyId",
    "AWS::SecretsManager::Secret": "KmsKeyId",
    "AWS::Logs::LogGroup": "KmsKeyId",
}
KEEPERS = [name for name, each in RESOURCES.items() if each["Type"] in KEY_PROPERTIES]


def keys_of(value: Any, name: str) -> list[Any]:
    """Return the values of a key at all levels."""
    if isinstance(value, dict):
        here = [value[name]] if name in value else []
        return here + [key for each in value.values() for key in keys_of(each, name)]
    if isinstance(value, list):
        return [key for each in value for key in keys_of(each, name)]
    return []


@pytest.mark.parametrize("name", KEEPERS)
def test_customer_key_encrypts_all_stored_data_when_given(name: str) -> None:
    resource = RESOURCES[name]
    property_ = KEY_PROPERTIES[resource["Type"]]

    assert keys_of(resolved(resource, {"HasKmsKey"}), property_) == [{"Ref": "KmsKeyArn"}]
    # The emulator and cfn-lint see this variant.
    assert {"Ref": "KmsKeyArn"} not in keys_of(resolved(resource, set()), property_)


@pytest.mark.parametrize("name", sorted({name for name, _ in statements()}))
def test_role_uses_the_key_through_its_services_only(name: str) -> None:
    of_role = [each for owner, each in statements("HasKmsKey") if owner == name]
    [use_key] = [each for each in of_role if each["Sid"] == "UseKey"]
    called = {
        action.partition(":")[0]
        for each in of_role
        if each["Effect"] == "Allow" and each is not use_key
        for action in many(each["Action"])
    }
    encrypted = {"dynamodb", "s3", "secretsmanager", "sns", "sqs"}
    via = use_key["Condition"]["StringEquals"]["kms:ViaService"]

    assert [each["Fn::Sub"] for each in via] == [
        f"{service}.${{AWS::Region}}.amazonaws.com" for service in sorted(called & encrypted)
    ]
    assert use_key["Resource"] == {"Ref": "KmsKeyArn"}


def test_any_key_decrypts_the_given_secret_and_nothing_else() -> None:
    for name in FUNCTIONS:
        of_role = [each for owner, each in statements() if owner == name]
        reads = [each for each in of_role if each["Action"] == "secretsmanager:GetSecretValue"]
        decrypts = [each for each in of_role if each["Action"] == "kms:Decrypt"]
        assert len(reads) == len(decrypts)
        for each in decrypts:
            assert each["Condition"]["StringEquals"]["kms:EncryptionContext:SecretARN"] == {
                "Ref": "VonageSecretArn"
            }
    made_here = [each["Action"] for _, each in statements("MakeSecret")]
    assert "kms:Decrypt" not in made_here


def test_only_functions_that_call_vonage_read_the_credentials() -> None:
    readers = {
        name for name, each in statements() if each["Action"] == "secretsmanager:GetSecretValue"
    }

    assert readers == set(FUNCTIONS) - {"ConvertReportFunction", "ReceiveCallbackFunction"}


@every_function
def test_function_writes_to_its_own_log_group_only(name: str) -> None:
    [statement] = [
        each for owner, each in statements() if owner == name and each["Effect"] == "Deny"
    ]
    own = FUNCTIONS[name]["LoggingConfig"]["LogGroup"]["Ref"]

    # SAM attaches a policy that allows all log groups.
    assert statement["Action"] == "logs:*"
    assert statement["NotResource"] == {"Fn::GetAtt": [own, "Arn"]}


@every_schedule
def test_schedules_share_a_role_for_their_group(name: str) -> None:
    schedule = SCHEDULES[name]
    given = {
        (action, json.dumps(statement["Resource"]))
        for owner, statement in statements()
        if owner == "ScheduleRole"
        for action in many(statement["Action"])
    }

    assert schedule["RoleArn"] == {"Fn::GetAtt": ["ScheduleRole", "Arn"]}
    function = name.partition(".")[0]
    assert given == {
        ("lambda:InvokeFunction", json.dumps({"Fn::GetAtt": [function, "Arn"]})),
        ("sqs:SendMessage", json.dumps(schedule["DeadLetterConfig"]["Arn"])),
    }
    [trust] = RESOURCES["ScheduleRole"]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Condition"] == {
        "StringEquals": {
            "aws:SourceAccount": {"Ref": "AWS::AccountId"},
            "aws:SourceArn": {"Fn::GetAtt": ["ScheduleGroup", "Arn"]},
        }
    }


def test_workflow_role_allows_exactly_its_states() -> None:
    # The emulator does not enforce this role.
    workflow = resolved(RESOURCES["ReportWorkflow"]["Properties"], {"HasCallback"})
    substitutions = workflow["DefinitionSubstitutions"]
    put_item = "arn:aws:states:::aws-sdk:dynamodb:putItem.waitForTaskToken"
    target = {
        put_item: ("dynamodb:PutItem", "TableName"),
        "arn:aws:states:::lambda:invoke": ("lambda:InvokeFunction", "FunctionName"),
        "arn:aws:states:::sns:publish": ("sns:Publish", "TopicArn"),
    }
    needed = set()
    for state in WORKFLOW["States"].values():
        if state["Type"] == "Task":
            action, argument = target[state["Resource"].replace("${Partition}", "aws")]
            named = state["Arguments"][argument].removeprefix("${").removesuffix("}")
            resource = substitutions[named]
            if argument == "TableName":
                resource = {"Fn::GetAtt": [resource["Ref"], "Arn"]}
            needed.add((action, json.dumps(resource)))

    given = {
        (action, json.dumps(resource))
        for owner, statement in statements("HasCallback")
        if owner == "ReportWorkflow" and statement["Sid"] != "DeliverLogs"
        for action in many(statement["Action"])
        for resource in many(statement["Resource"])
    }
    assert given == needed


def test_no_parameter_holds_a_secret() -> None:
    # Every role that may describe the stack sees the parameters. The ARN is no secret.
    hints = ("secret", "password", "token", "apikey", "credential")

    assert {name for name in PARAMETERS if any(hint in name.lower() for hint in hints)} == {
        "VonageSecretArn"
    }
    assert PARAMETERS["VonageSecretArn"]["AllowedPattern"].startswith("^$|^arn:")
    secret = RESOURCES["VonageSecret"]["Properties"]
    assert not {"SecretString", "GenerateSecretString"} & set(secret)


def test_functions_get_the_credentials_as_an_arn() -> None:
    for name in FUNCTIONS:
        held = {each for each in variables_set(name) if "SECRET" in each or "KEY" in each}
        asks_vonage = name not in ("ConvertReportFunction", "ReceiveCallbackFunction")
        assert held == ({"VONAGE_SECRET_ARN"} if asks_vonage else set())


@pytest.mark.parametrize("name", PARAMETERS)
def test_every_parameter_has_description_and_default(name: str) -> None:
    assert PARAMETERS[name]["Description"].strip()
    assert "Default" in PARAMETERS[name]


@pytest.mark.parametrize("name", PARAMETERS)
def test_every_parameter_is_used(name: str) -> None:
    # cfn-lint does not report an unused parameter, such as a ScheduleState without effect.
    rest = {section: TEMPLATE[section] for section in ("Conditions", "Globals", "Resources")}

    assert re.search(rf'"Ref": "{name}"|\$\{{{name}\}}', json.dumps(rest))


def test_default_definitions_are_nine_valid_ones() -> None:
    text = PARAMETERS["ReportDefinitions"]["Default"]

    definitions, refused = parse_definitions(text, api_key="abcd1234")

    assert refused == []
    assert len(definitions) == 9
    assert {definition.product for definition in definitions} >= {
        "SMS",
        "MESSAGES",
        "VOICE-CALL",
        "VERIFY-V2",
        "REPORTS-USAGE",
    }
    # CloudFormation accepts parameters of up to 4,096 bytes.
    assert len(text.encode()) <= 4096


def test_default_definitions_exclude_message_bodies() -> None:
    definitions, _ = parse_definitions(
        PARAMETERS["ReportDefinitions"]["Default"], api_key="abcd1234"
    )

    assert not any(definition.filters.get("include_message") for definition in definitions)


@every_statement
def test_statements_allow_named_actions_on_named_resources(
    name: str, statement: dict[str, Any]
) -> None:
    actions = many(statement["Action"])
    resources = many(statement["Resource"])

    assert statement["Effect"] == "Allow", name
    assert not [action for action in actions if "*" in action]
    if "*" in resources:
        assert resources == ["*"]
        assert set(actions) <= LOG_DELIVERY | {"states:SendTaskSuccess"}


@every_statement
def test_statements_reach_own_resources_and_bucket_folders(
    name: str, statement: dict[str, Any]
) -> None:
    # The comparison with recorded calls counts everything that a wildcard covers as used.
    if "kms:EncryptionContext:SecretARN" in str(statement.get("Condition")):
        return  # any key, but one secret
    own = {*RESOURCES, "VonageSecretArn", "KmsKeyArn"}
    for resource in many(statement["Resource"]):
        words = set(re.findall(r"\w+", str(resource)))
        assert words & own or resource == "*" or "catalog" in words, name
        if "ReportsBucket.Arn}" in str(resource):
            assert re.search(
                r"Arn}/(archives|refused|data|unreadable|manifests|headers|definitions|periods)/\*",
                str(resource),
            )


@every_statement
def test_no_role_deletes_or_publishes_objects(name: str, statement: dict[str, Any]) -> None:
    forbidden = {"s3:DeleteObject", "s3:PutObjectAcl", "s3:PutLifecycleConfiguration"}

    assert not forbidden & set(many(statement["Action"])), name


@pytest.mark.parametrize(
    ("prefix", "writer"),
    [
        ("archives/", "StoreReportFunction"),
        ("refused/", "StoreReportFunction"),
        ("data/", "ConvertReportFunction"),
        ("unreadable/", "ConvertReportFunction"),
        ("manifests/", "ConvertReportFunction"),
        ("headers/", "ConvertReportFunction"),
        ("definitions/", "SubmitReportsFunction"),
        ("periods/", "SubmitReportsFunction"),
    ],
)
def test_each_bucket_folder_has_one_writer(prefix: str, writer: str) -> None:
    writers = {
        owner
        for owner, statement in statements()
        if "s3:PutObject" in many(statement["Action"])
        for resource in many(statement["Resource"])
        if f"/{prefix}" in str(resource)
    }

    assert writers == {writer}


def test_abandoned_uploads_are_aborted_after_a_day() -> None:
    rules = RESOURCES["ReportsBucket"]["Properties"]["LifecycleConfiguration"]["Rules"]
    (rule,) = [each for each in rules if "AbortIncompleteMultipartUpload" in each]

    assert rule["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}
    assert rule["Status"] == "Enabled"
    assert not {"Prefix", "Filter"} & set(rule)  # everywhere in the bucket


def test_only_convert_report_has_the_dataset_layer() -> None:
    loaders = {
        name
        for name, each in FUNCTIONS.items()
        if {"Ref": "DatasetLayer"} in each.get("Layers", [])
    }

    assert loaders == {"ConvertReportFunction"}


def test_convert_report_has_disk_space_for_the_dataset() -> None:
    # A window has at most four archives of 1 GB each, and Parquet is smaller.
    assert FUNCTIONS["ConvertReportFunction"]["EphemeralStorage"]["Size"] >= 4 * 1000


@pytest.mark.parametrize("name", ["RowCheck", "AccountCurrency"])
def test_parameter_and_setting_accept_the_same_values(name: str) -> None:
    variable = {"RowCheck": "ROW_CHECK", "AccountCurrency": "ACCOUNT_CURRENCY"}[name]
    variables = FUNCTIONS["ConvertReportFunction"]["Environment"]["Variables"]

    assert variables[variable] == {"Ref": name}
    for value in (PARAMETERS[name]["Default"], *PARAMETERS[name].get("AllowedValues", [])):
        assert Settings.from_environment({variable: value})


# Resources that SAM adds


@pytest.fixture(scope="module")
def expanded() -> dict[str, dict[str, Any]]:
    return expanded_resources()


def policies(value: Any) -> Iterator[dict[str, Any]]:
    """Yield each policy document at all levels."""
    if isinstance(value, dict):
        if "Statement" in value:
            yield value
        for each in value.values():
            yield from policies(each)
    elif isinstance(value, list):
        for each in value:
            yield from policies(each)


def test_every_policy_has_the_current_version(expanded: dict[str, dict[str, Any]]) -> None:
    # IAM reads a document without it as of 2008, without policy variables.
    versions = [
        (name, document.get("Version"))
        for name, resource in expanded.items()
        for document in policies(resource)
    ]

    assert len(versions) > 15
    assert [(name, version) for name, version in versions if version != "2012-10-17"] == []


CREDENTIALS_POLICY = {"Ref": "ReadCredentialsPolicy"}


def test_sam_adds_only_known_permissions(expanded: dict[str, dict[str, Any]]) -> None:
    roles = {
        name: each["Properties"]
        for name, each in expanded.items()
        if each["Type"] == "AWS::IAM::Role"
    }
    ours = re.compile(r"(Function|Workflow)RolePolicy0|wake-submit-reports")

    assert roles.keys() == {f"{name}Role" for name in (*FUNCTIONS, "ReportWorkflow", "Schedule")}
    attached = [arn for role in roles.values() for arn in role.get("ManagedPolicyArns", [])]
    of_aws = {arn.rpartition("/")[2] for arn in attached if isinstance(arn, str)}
    assert of_aws == SAMS_OWN
    assert [arn for arn in attached if not isinstance(arn, str)] == [CREDENTIALS_POLICY] * 3
    named = [policy["PolicyName"] for role in roles.values() for policy in role["Policies"]]
    assert [name for name in named if not ours.search(name)] == []


def test_only_the_rule_and_the_callback_have_an_invoke_permission(
    expanded: dict[str, dict[str, Any]],
) -> None:
    permissions = {
        name: each["Properties"]
        for name, each in expanded.items()
        if each["Type"] == "AWS::Lambda::Permission"
    }
    # https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html
    to_anyone = {"FunctionName": {"Ref": "ReceiveCallbackFunction"}, "Principal": "*"}
    assert permissions.pop("CallbackUrlPermission") == {
        **to_anyone,
        "Action": "lambda:InvokeFunctionUrl",
        "FunctionUrlAuthType": "NONE",
    }
    assert permissions.pop("CallbackInvokePermission") == {
        **to_anyone,
        "Action": "lambda:InvokeFunction",
        "InvokedViaFunctionUrl": True,
    }
    [permission] = permissions.values()

    assert permission["Principal"] == "events.amazonaws.com"
    assert permission["SourceArn"] == {"Fn::GetAtt": ["SubmitReportsFunctionRunEnded", "Arn"]}


# The catalogue

BESIDE_THE_PRODUCTS = {"usage", "usage_with_copies", "manifests", "invoice"}
TABLES_OF_CATALOGUE = {
    each["TableInput"]["StorageDescriptor"]["Location"]["Fn::Sub"]: each
    for each in of_type("AWS::Glue::Table").values()
    if each["TableInput"]["Name"] not in BESIDE_THE_PRODUCTS
}


def test_generated_tables_view_and_queries_are_up_to_date() -> None:
    # `make fmt` writes them.
    text = (ROOT / "template.yaml").read_text()

    assert with_generated_parts(text) == text
    of_catalogue = [each["TableInput"]["Name"] for each in of_type("AWS::Glue::Table").values()]
    assert len(TABLES_OF_CATALOGUE) == len(of_catalogue) - len(BESIDE_THE_PRODUCTS) == len(TABLES)


def test_generated_resources_come_last() -> None:
    text = (ROOT / "template.yaml").read_text()
    _, _, rest = text.partition(BEGIN)
    generated, _, after = rest.partition(END)

    assert after.startswith("\nOutputs:\n")
    assert set(re.findall(r"^  (\w+):$", generated, re.MULTILINE)) == {
        "UsageView",
        "UsageWithCopiesView",
        *(f"{name.title().replace('_', '')}Table" for name in map(table_name, TABLES)),
    }


@pytest.mark.parametrize("product", TABLES)
def test_product_table_has_its_columns_and_folder(product: str) -> None:
    table = TABLES_OF_CATALOGUE[f"s3://${{ReportsBucket}}/data/product={product}/"]
    described = table["TableInput"]

    assert table["DatabaseName"] == {"Ref": "UsageDatabase"}
    # SQL need not quote such names: https://docs.aws.amazon.com/athena/latest/ug/tables-databases-columns-names.html
    assert re.fullmatch(r"[a-z][a-z0-9_]*", described["Name"])
    assert described["Name"] == product.lower().replace("-", "_")
    assert [(each["Name"], each["Type"]) for each in described["StorageDescriptor"]["Columns"]] == [
        (column.name, column.type.value) for column in TABLES[product].all_columns
    ]


def test_tables_are_partitioned_like_their_object_keys() -> None:
    folders = re.findall(r"([a-z]+)=", dataset_key(RUN_INPUT))

    for table in TABLES_OF_CATALOGUE.values():
        keys = [each["Name"] for each in table["TableInput"]["PartitionKeys"]]
        assert ["product", *keys] == folders


REFERENCES = [{"Ref": name} for name in RESOURCES]
NAMED = [
    pytest.param(name, key, id=f"{name}-{key}")
    for name, resource in RESOURCES.items()
    for key in resource.get("Properties", {})
    # Tables are named within their database, and MetricName is the metric that an alarm reads.
    if re.fullmatch(r"Name|\w+Name", key)
    and key not in ("DatabaseName", "OmitName", "MetricName")
    and resource["Properties"][key] not in REFERENCES
]


@pytest.mark.parametrize(("name", "key"), NAMED)
def test_explicit_names_contain_the_stack_name(name: str, key: str) -> None:
    # Two stacks with one name for a resource could not both be deployed.
    assert "AWS::StackName" in str(RESOURCES[name]["Properties"][key])


def test_nothing_is_exported() -> None:
    # Names of exports are unique in an account and region.
    assert not any("Export" in output for output in TEMPLATE["Outputs"].values())


def test_each_stack_has_its_own_database() -> None:
    name = RESOURCES["UsageDatabase"]["Properties"]["DatabaseInput"]["Name"]

    # The name of a stack is unique and has letters, digits and hyphens.
    assert name == {"Fn::Join": ["_", {"Fn::Split": ["-", {"Ref": "AWS::StackName"}]}]}


def test_catalogue_changes_are_limited_to_new_partitions() -> None:
    found = [
        (name, action, resource)
        for name, statement in statements("HasCatalogue")
        for action in many(statement["Action"])
        if action.startswith("glue:")
        for resource in many(statement["Resource"])
    ]

    assert {(name, action) for name, action, _ in found} == {
        ("ConvertReportFunction", "glue:CreatePartition"),
        ("SubmitReportsFunction", "glue:CreatePartition"),
    }
    resources = ["catalog", "database/${UsageDatabase}", "table/${UsageDatabase}/*"]
    assert [each["Fn::Sub"].rpartition("}:")[2] for *_, each in found] == [*resources, *resources]


OF_CATALOGUE = ("AWS::Glue::Database", "AWS::Glue::Table", "AWS::Athena::NamedQuery")


def test_stack_without_catalogue_has_nothing_of_it() -> None:
    conditional = {
        name for name, each in RESOURCES.items() if each.get("Condition") == "HasCatalogue"
    }
    of_catalogue = {name for name, each in RESOURCES.items() if each["Type"] in OF_CATALOGUE}
    assert conditional == of_catalogue | {"CatalogueWaitingAlarm"}
    kept = {
        section: {
            name: resolved(each, set())
            for name, each in TEMPLATE[section].items()
            if each.get("Condition") != "HasCatalogue"
        }
        for section in ("Resources", "Outputs")
    }
    text = json.dumps(kept)
    assert not [name for name in conditional if re.search(rf'"{name}"|\$\{{{name}[.}}]', text)]
    assert "glue:" not in text


@pytest.mark.parametrize("name", ["SubmitReportsFunction", "ConvertReportFunction"])
def test_function_knows_whether_there_is_a_catalogue(name: str) -> None:
    variables = FUNCTIONS[name]["Environment"]["Variables"]

    assert variables["CATALOGUE"] == {"Ref": "Catalogue"}
    assert PARAMETERS["Catalogue"]["AllowedValues"] == ["on", "off"]
    assert Settings.from_environment({}).catalogue == PARAMETERS["Catalogue"]["Default"]
    assert Settings.from_environment({"CATALOGUE": "off"}).catalogue == "off"


def test_stack_without_callbacks_has_nothing_of_them() -> None:
    conditional = {
        name for name, each in RESOURCES.items() if each.get("Condition") == "HasCallback"
    }
    assert conditional == {
        *("CallbackTable", "ReceiveCallbackFunction", "ReceiveCallbackLogs"),
        *("CallbackUrl", "CallbackUrlPermission", "CallbackInvokePermission"),
    }
    assert PARAMETERS["Callback"]["Default"] == "off"
    kept = {
        name: resolved(each, set()) for name, each in RESOURCES.items() if name not in conditional
    }
    text = json.dumps(kept)
    assert not [name for name in conditional if re.search(rf'"{name}"|\$\{{{name}[.}}]', text)]


def test_submit_reports_gives_vonage_the_url_of_the_function() -> None:
    of = resolved(FUNCTIONS["SubmitReportsFunction"], {"HasCallback"})["Environment"]["Variables"]

    assert of["CALLBACK"] == {"Ref": "Callback"}
    assert of["CALLBACK_URL"] == {"Fn::GetAtt": ["CallbackUrl", "FunctionUrl"]}
    allowed = PARAMETERS["Callback"]["AllowedValues"]
    assert [Settings.from_environment({"CALLBACK": each}).callback for each in allowed] == allowed
    assert Settings.from_environment({}).callback == PARAMETERS["Callback"]["Default"]


def test_flood_of_callbacks_is_bounded() -> None:
    function = FUNCTIONS["ReceiveCallbackFunction"]

    assert function["ReservedConcurrentExecutions"] == 1
    # A caller could have each call traced, and Lambda would write three lines for each.
    assert function["Tracing"] == "Disabled"
    assert function["LoggingConfig"]["SystemLogLevel"] == "WARN"
    assert not [
        name
        for name, each in FUNCTIONS.items()
        if each is not function and "ReservedConcurrentExecutions" in each
    ]


def test_items_of_callbacks_expire() -> None:
    table = RESOURCES["CallbackTable"]["Properties"]
    item = WORKFLOW["States"]["Wait For Callback"]["Arguments"]["Item"]

    assert table["TimeToLiveSpecification"] == {"AttributeName": "expires", "Enabled": True}
    assert [each["AttributeName"] for each in table["KeySchema"]] == ["callback"]
    assert item.keys() == {"callback", "task_token", "expires"}
    seconds = WORKFLOW["TimeoutSeconds"]
    assert f"/ 1000) + {seconds})" in item["expires"]["N"]


def test_ledger_table_has_its_keys_and_can_be_restored() -> None:
    table = RESOURCES["LedgerTable"]["Properties"]

    assert table["BillingMode"] == "PAY_PER_REQUEST"
    assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert {each["AttributeName"] for each in table["AttributeDefinitions"]} == {
        each["AttributeName"] for each in table["KeySchema"]
    }


def test_dead_letters_are_kept_for_two_weeks() -> None:
    queue = RESOURCES["UndeliveredEventsQueue"]["Properties"]

    assert queue["MessageRetentionPeriod"] == 14 * 24 * 60 * 60
