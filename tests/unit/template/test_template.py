import ast
import json
import re
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator

from local.generate_template import with_tables
from local.stack.template import read_template
from tests.support.paths import ROOT
from tests.support.run_input import RUN_INPUT
from vonage_dataset.tables import TABLES
from vonage_reports.aws.error_messages import VARIABLES
from vonage_reports.domain.objects import dataset_key
from vonage_reports.domain.settings import Settings
from vonage_reports.submit_reports.context import Invocation
from vonage_reports.submit_reports.requests import parse_definitions

WORKFLOW = yaml.safe_load((ROOT / "functions" / "report_workflow.asl.yaml").read_text())
TEMPLATE = read_template(ROOT / "template.yaml")
PARAMETERS: dict[str, Any] = TEMPLATE["Parameters"]
RESOURCES: dict[str, dict[str, Any]] = TEMPLATE["Resources"]
GLOBALS: dict[str, Any] = TEMPLATE["Globals"]["Function"]

# These actions know no resources:
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
    """The variables that a handler reads, those of its Vonage client included."""
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
    """Take the branches of Fn::If that hold where just these conditions do."""
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
    """Every statement of a role that the template writes, by the resource that has the role."""
    for name, resource in resolved(RESOURCES, set(conditions)).items():
        for policy in resource.get("Properties", {}).get("Policies", []):
            for statement in policy.get("PolicyDocument", policy)["Statement"]:
                yield name, statement


STATEMENTS = [
    pytest.param(name, statement, id=f"{name}-{statement['Sid']}")
    for name, statement in statements("HasKmsKey")
    if statement["Effect"] == "Allow"
]
every_statement = pytest.mark.parametrize(("name", "statement"), STATEMENTS)


def many(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


@every_function
def test_a_function_gets_the_environment_that_it_reads_and_no_more(name: str) -> None:
    optional = {each.upper() for each in vars(Settings())}

    assert variables_read(name) == variables_set(name) - optional


@every_function
def test_a_variable_that_is_missing_would_be_named_as_one(name: str) -> None:
    assert variables_read(name) <= VARIABLES


def test_the_functions_are_the_folders_under_functions() -> None:
    folders = {path.parent.name for path in (ROOT / "functions").glob("*/app.py")}

    assert {properties["CodeUri"] for properties in FUNCTIONS.values()} == {
        f"functions/{folder}" for folder in folders
    }
    assert set(FUNCTIONS) == {f"{folder.title().replace('_', '')}Function" for folder in folders}


@every_function
def test_a_function_is_found_by_lambda(name: str) -> None:
    [module, function] = FUNCTIONS[name].get("Handler", GLOBALS["Handler"]).split(".")

    assert module == "app"
    assert function in {
        node.name for node in handler(name).body if isinstance(node, ast.FunctionDef)
    }


@every_function
def test_a_function_says_how_long_it_may_take_and_where_it_logs(name: str) -> None:
    properties = FUNCTIONS[name]

    assert 60 <= properties["Timeout"] <= 900
    assert GLOBALS["Tracing"] == "Active"
    log_group = properties["LoggingConfig"]["LogGroup"]["Ref"]
    assert RESOURCES[log_group]["Properties"]["RetentionInDays"] == {"Ref": "LogRetentionDays"}


def test_submit_reports_has_a_minute_to_settle_before_it_begins_to_submit() -> None:
    seconds = FUNCTIONS["SubmitReportsFunction"]["Timeout"]

    assert Invocation("one", lambda: seconds - 60).has_time_to_settle()


@every_schedule
def test_a_schedule_may_be_deployed_twice_and_loses_nothing(name: str) -> None:
    schedule = SCHEDULES[name]

    assert schedule["OmitName"] is True
    # The bounds of EventBridge Scheduler.
    assert 60 <= schedule["RetryPolicy"]["MaximumEventAgeInSeconds"] <= 86_400
    assert 1 <= schedule["RetryPolicy"]["MaximumRetryAttempts"] <= 185
    assert schedule["DeadLetterConfig"]["Arn"] == {"Fn::GetAtt": ["UndeliveredEventsQueue", "Arn"]}


def test_the_calendar_runs_in_a_time_zone_at_the_schedules_own_time() -> None:
    calendar = SCHEDULES["SubmitReportsFunction.Calendar"]

    assert calendar["ScheduleExpressionTimezone"] == {"Ref": "ScheduleTimeZone"}
    assert json.loads(calendar["Input"]) == {"scheduled_time": "<aws.scheduler.scheduled-time>"}


def test_what_is_open_is_looked_after_every_five_minutes_even_without_a_calendar() -> None:
    sweep = SCHEDULES["SubmitReportsFunction.Sweep"]

    assert sweep["ScheduleExpression"] == "rate(5 minutes)"
    assert json.loads(sweep["Input"]) == {"sweep": True}
    assert "State" not in sweep


def test_the_end_of_a_run_wakes_submit_reports() -> None:
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
def test_a_layer_is_built_for_the_processor_that_runs_it(name: str) -> None:
    # Otherwise an arm64 function would get binaries of the machine that built them.
    assert RESOURCES[name]["Metadata"]["BuildArchitecture"] == {"Ref": "Architecture"}
    assert RESOURCES[name]["Properties"]["CompatibleArchitectures"] == [{"Ref": "Architecture"}]
    assert GLOBALS["Architectures"] == [{"Ref": "Architecture"}]


@pytest.mark.parametrize("name", ["ReportsBucket", "LedgerTable", "VonageSecret"])
def test_what_was_paid_for_outlives_the_stack(name: str) -> None:
    assert RESOURCES[name]["DeletionPolicy"] == "Retain"
    assert RESOURCES[name]["UpdateReplacePolicy"] == "Retain"


def test_the_bucket_is_private_and_versioned() -> None:
    bucket = RESOURCES["ReportsBucket"]["Properties"]

    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
    assert bucket["OwnershipControls"] == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}


def rules(*conditions: str) -> dict[str, dict[str, Any]]:
    """The lifecycle of the bucket, by the rules' ids."""
    bucket = resolved(RESOURCES["ReportsBucket"]["Properties"], set(conditions))
    return {rule.pop("Id"): rule for rule in bucket["LifecycleConfiguration"]["Rules"]}


def test_only_archives_leave_the_bucket_by_themselves_and_only_when_somebody_says_so() -> None:
    always = rules()
    assert always.keys() == {"drop-what-a-killed-function-left", "drop-what-was-replaced"}
    assert not any({"ExpirationInDays", "Transitions"} & set(rule) for rule in always.values())
    added = rules("ArchivesGetCold", "ArchivesExpire")
    assert {added[name]["Prefix"] for name in added.keys() - always.keys()} == {"archives/"}


def test_archives_stay_where_they_are_read_at_once() -> None:
    # https://docs.aws.amazon.com/AmazonS3/latest/userguide/storage-class-intro.html
    assert set(PARAMETERS["ArchiveColdClass"]["AllowedValues"]) <= {"STANDARD_IA", "GLACIER_IR"}


RESOURCE_POLICIES = [
    *of_type("AWS::S3::BucketPolicy").values(),
    *of_type("AWS::SNS::TopicPolicy").values(),
    *of_type("AWS::SQS::QueuePolicy").values(),
]


def test_bucket_topic_and_queue_are_reached_over_tls_only() -> None:
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


def test_a_wildcard_principal_is_only_ever_denied_something() -> None:
    for policy in RESOURCE_POLICIES:
        for statement in policy["PolicyDocument"]["Statement"]:
            if statement["Effect"] == "Allow":
                assert "*" not in str(statement["Principal"])
                assert statement["Condition"]


def test_the_workflow_logs_its_errors_and_none_of_its_data() -> None:
    logging = RESOURCES["ReportWorkflow"]["Properties"]["Logging"]

    # Filters of a definition may hold phone numbers.
    assert (logging["Level"], logging["IncludeExecutionData"]) == ("ERROR", False)


def test_what_is_kept_is_encrypted_without_a_key_of_ones_own_too() -> None:
    of = {name: each.get("Properties", {}) for name, each in resolved(RESOURCES, set()).items()}

    assert keys_of(of["ReportsBucket"], "SSEAlgorithm") == ["AES256"]
    assert of["UndeliveredEventsQueue"]["SqsManagedSseEnabled"] is True
    assert of["ReportsTopic"]["KmsMasterKeyId"] == "alias/aws/sns"
    # With that key CloudWatch could not publish, and the alarms would be silent:
    # https://repost.aws/knowledge-center/cloudwatch-configure-alarm-sns
    assert "KmsMasterKeyId" not in of["AlarmTopic"]


# A key of one's own

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
    """Every value of that name, wherever it stands."""
    if isinstance(value, dict):
        here = [value[name]] if name in value else []
        return here + [key for each in value.values() for key in keys_of(each, name)]
    if isinstance(value, list):
        return [key for each in value for key in keys_of(each, name)]
    return []


@pytest.mark.parametrize("name", KEEPERS)
def test_a_key_of_ones_own_is_used_for_all_that_is_kept_and_only_when_given(name: str) -> None:
    resource = RESOURCES[name]
    property_ = KEY_PROPERTIES[resource["Type"]]

    assert keys_of(resolved(resource, {"HasKmsKey"}), property_) == [{"Ref": "KmsKeyArn"}]
    # The emulator and cfn-lint see this one.
    assert {"Ref": "KmsKeyArn"} not in keys_of(resolved(resource, set()), property_)


# Step Functions asks for the right to publish with the role of the workflow, Lambda for the right
# to put away a failed event with the role of the function.
SENDS_TO_THE_QUEUE = {"SubmitReportsFunction"}


@pytest.mark.parametrize("name", sorted({name for name, _ in statements()}))
def test_a_role_uses_the_key_through_the_services_that_it_calls_and_no_others(name: str) -> None:
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

    expected = (called | ({"sqs"} if name in SENDS_TO_THE_QUEUE else set())) & encrypted
    assert [each["Fn::Sub"] for each in via] == [
        f"{service}.${{AWS::Region}}.amazonaws.com" for service in sorted(expected)
    ]
    assert use_key["Resource"] == {"Ref": "KmsKeyArn"}


def test_a_secret_of_ones_own_can_be_read_whatever_its_key_and_nothing_else_can() -> None:
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


@every_function
def test_a_function_writes_into_no_log_group_but_its_own(name: str) -> None:
    [statement] = [
        each for owner, each in statements() if owner == name and each["Effect"] == "Deny"
    ]
    own = FUNCTIONS[name]["LoggingConfig"]["LogGroup"]["Ref"]

    # What SAM attaches allows all of them.
    assert statement["Action"] == "logs:*"
    assert statement["NotResource"] == {"Fn::GetAtt": [own, "Arn"]}


@every_schedule
def test_a_schedule_acts_with_the_one_role_that_only_this_accounts_schedules_get(name: str) -> None:
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
    assert trust["Condition"] == {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}


def test_the_workflow_may_do_what_its_states_do_and_no_more() -> None:
    # The emulator does not enforce this role: it is compared by reading.
    substitutions = RESOURCES["ReportWorkflow"]["Properties"]["DefinitionSubstitutions"]
    target = {
        "arn:aws:states:::lambda:invoke": ("lambda:InvokeFunction", "FunctionName"),
        "arn:aws:states:::sns:publish": ("sns:Publish", "TopicArn"),
    }
    needed = set()
    for state in WORKFLOW["States"].values():
        if state["Type"] == "Task":
            action, argument = target[state["Resource"]]
            named = state["Arguments"][argument].removeprefix("${").removesuffix("}")
            needed.add((action, json.dumps(substitutions[named])))

    given = {
        (action, json.dumps(resource))
        for owner, statement in statements()
        if owner == "ReportWorkflow" and statement["Sid"] != "DeliverLogs"
        for action in many(statement["Action"])
        for resource in many(statement["Resource"])
    }
    assert given == needed


def test_no_secret_is_a_parameter() -> None:
    # A parameter's value is shown to everybody who may describe the stack. The ARN is no secret.
    hints = ("secret", "password", "token", "apikey", "credential")

    assert {name for name in PARAMETERS if any(hint in name.lower() for hint in hints)} == {
        "VonageSecretArn"
    }
    assert PARAMETERS["VonageSecretArn"]["AllowedPattern"].startswith("^$|^arn:")
    secret = RESOURCES["VonageSecret"]["Properties"]
    assert not {"SecretString", "GenerateSecretString"} & set(secret)


def test_credentials_reach_a_function_as_an_arn_alone() -> None:
    for name in FUNCTIONS:
        held = {each for each in variables_set(name) if "SECRET" in each or "KEY" in each}
        asks_vonage = name != "ConvertReportFunction"
        assert held == ({"VONAGE_SECRET_ARN"} if asks_vonage else set())


@pytest.mark.parametrize("name", PARAMETERS)
def test_every_parameter_is_described_and_has_a_default(name: str) -> None:
    assert PARAMETERS[name]["Description"].strip()
    assert "Default" in PARAMETERS[name]


@pytest.mark.parametrize("name", PARAMETERS)
def test_every_parameter_is_used(name: str) -> None:
    # Else samconfig.toml would switch off a schedule that goes on, and cfn-lint says nothing.
    rest = {section: TEMPLATE[section] for section in ("Conditions", "Globals", "Resources")}

    assert re.search(rf'"Ref": "{name}"|\$\{{{name}\}}', json.dumps(rest))


def test_the_first_definitions_are_eight_and_none_is_refused() -> None:
    text = PARAMETERS["ReportDefinitions"]["Default"]

    definitions, refused = parse_definitions(text, api_key="abcd1234")

    assert refused == []
    assert len(definitions) == 8
    assert {definition.product for definition in definitions} >= {
        "SMS",
        "MESSAGES",
        "VOICE-CALL",
        "VERIFY-V2",
    }
    # CloudFormation takes parameters of up to 4,096 bytes.
    assert len(text.encode()) <= 4096


def test_message_bodies_are_asked_for_by_nobody_unasked() -> None:
    definitions, _ = parse_definitions(
        PARAMETERS["ReportDefinitions"]["Default"], api_key="abcd1234"
    )

    assert not any(definition.filters.get("include_message") for definition in definitions)


@every_statement
def test_a_statement_allows_named_actions_on_named_resources(
    name: str, statement: dict[str, Any]
) -> None:
    actions = many(statement["Action"])
    resources = many(statement["Resource"])

    assert statement["Effect"] == "Allow", name
    assert not [action for action in actions if "*" in action]
    if "*" in resources:
        assert resources == ["*"]
        assert set(actions) <= LOG_DELIVERY


@every_statement
def test_a_statement_reaches_what_is_this_stacks_and_of_its_bucket_one_folder(
    name: str, statement: dict[str, Any]
) -> None:
    # What a wildcard covers, the comparison with the calls that were made takes for used.
    if "kms:EncryptionContext:SecretARN" in str(statement.get("Condition")):
        return  # of whatever key, but of one secret
    own = {*RESOURCES, "VonageSecretArn", "KmsKeyArn"}
    for resource in many(statement["Resource"]):
        words = set(re.findall(r"\w+", str(resource)))
        assert words & own or resource == "*" or "catalog" in words, name
        if "ReportsBucket.Arn}" in str(resource):
            assert re.search(r"Arn}/(archives|data|manifests|headers)/\*", str(resource))


@every_statement
def test_nobody_may_delete_or_publish_an_object(name: str, statement: dict[str, Any]) -> None:
    forbidden = {"s3:DeleteObject", "s3:PutObjectAcl", "s3:PutLifecycleConfiguration"}

    assert not forbidden & set(many(statement["Action"])), name


@pytest.mark.parametrize(
    ("prefix", "writer"),
    [
        ("archives/", "StoreReportFunction"),
        ("data/", "ConvertReportFunction"),
        ("manifests/", "ConvertReportFunction"),
        ("headers/", "ConvertReportFunction"),
    ],
)
def test_what_lands_in_the_bucket_has_one_writer(prefix: str, writer: str) -> None:
    writers = {
        owner
        for owner, statement in statements()
        if "s3:PutObject" in many(statement["Action"])
        for resource in many(statement["Resource"])
        if f"/{prefix}" in str(resource)
    }

    assert writers == {writer}


def test_an_upload_that_a_killed_function_left_open_is_dropped() -> None:
    rules = RESOURCES["ReportsBucket"]["Properties"]["LifecycleConfiguration"]["Rules"]
    (rule,) = [each for each in rules if "AbortIncompleteMultipartUpload" in each]

    assert rule["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}
    assert rule["Status"] == "Enabled"
    assert not {"Prefix", "Filter"} & set(rule)  # everywhere in the bucket


def test_only_convert_report_loads_what_makes_the_dataset() -> None:
    loaders = {
        name
        for name, each in FUNCTIONS.items()
        if {"Ref": "DatasetLayer"} in each.get("Layers", [])
    }

    assert loaders == {"ConvertReportFunction"}


def test_the_dataset_has_room_while_it_is_made() -> None:
    # An archive of Vonage's has 1 GB at most, a window four of them, and Parquet is smaller.
    assert FUNCTIONS["ConvertReportFunction"]["EphemeralStorage"]["Size"] >= 4 * 1000


@pytest.mark.parametrize("name", ["RowCheck", "AccountCurrency"])
def test_a_parameter_takes_what_the_setting_takes(name: str) -> None:
    variable = {"RowCheck": "ROW_CHECK", "AccountCurrency": "ACCOUNT_CURRENCY"}[name]
    variables = FUNCTIONS["ConvertReportFunction"]["Environment"]["Variables"]

    assert variables[variable] == {"Ref": name}
    for value in (PARAMETERS[name]["Default"], *PARAMETERS[name].get("AllowedValues", [])):
        assert Settings.from_environment({variable: value})


# What SAM adds


@pytest.fixture(scope="module")
def expanded() -> dict[str, dict[str, Any]]:
    """The resources as CloudFormation gets them."""
    template = read_template(ROOT / "template.yaml")
    for resource in template["Resources"].values():
        for name in {"CodeUri", "ContentUri", "DefinitionUri"} & set(resource["Properties"]):
            resource["Properties"][name] = "s3://bucket/key"
    managed = {name: f"arn:aws:iam::aws:policy/{name}" for name in SAMS_OWN}
    translator = Translator(managed, Parser(), boto_session=boto3.Session(region_name="eu-west-1"))
    resources: dict[str, dict[str, Any]] = translator.translate(template, {})["Resources"]
    return resources


SAMS_OWN = {
    "AWSLambdaBasicExecutionRole",  # every log group: NoLogsButItsOwn takes back all but one
    "AWSXrayWriteOnlyAccess",  # its actions know no resources
}


def test_sam_adds_no_right_but_those_that_were_judged(expanded: dict[str, dict[str, Any]]) -> None:
    roles = {
        name: each["Properties"]
        for name, each in expanded.items()
        if each["Type"] == "AWS::IAM::Role"
    }
    ours = re.compile(r"(Function|Workflow)RolePolicy0|wake-submit-reports")

    assert roles.keys() == {f"{name}Role" for name in (*FUNCTIONS, "ReportWorkflow", "Schedule")}
    attached = {arn for role in roles.values() for arn in role.get("ManagedPolicyArns", [])}
    assert {arn.rpartition("/")[2] for arn in attached} == SAMS_OWN
    [added] = [
        policy
        for role in roles.values()
        for policy in role["Policies"]
        if not ours.search(policy["PolicyName"])
    ]
    # Lambda sends with the function's role what failed three times.
    assert added["PolicyDocument"]["Statement"] == [
        {
            "Effect": "Allow",
            "Action": "sqs:SendMessage",
            "Resource": {"Fn::GetAtt": ["UndeliveredEventsQueue", "Arn"]},
        }
    ]


def test_only_the_rule_may_invoke_a_function_from_outside(
    expanded: dict[str, dict[str, Any]],
) -> None:
    [permission] = [
        each["Properties"]
        for each in expanded.values()
        if each["Type"] == "AWS::Lambda::Permission"
    ]

    assert permission["Principal"] == "events.amazonaws.com"
    assert permission["SourceArn"] == {"Fn::GetAtt": ["SubmitReportsFunctionRunEnded", "Arn"]}


# The catalogue

BESIDE_THE_PRODUCTS = {"usage", "manifests", "invoice"}
TABLES_OF_CATALOGUE = {
    each["TableInput"]["StorageDescriptor"]["Location"]["Fn::Sub"]: each
    for each in of_type("AWS::Glue::Table").values()
    if each["TableInput"]["Name"] not in BESIDE_THE_PRODUCTS
}


def test_the_tables_are_those_that_the_converter_writes() -> None:
    # `make fmt` writes them.
    text = (ROOT / "template.yaml").read_text()

    assert with_tables(text) == text
    of_catalogue = [each["TableInput"]["Name"] for each in of_type("AWS::Glue::Table").values()]
    assert len(TABLES_OF_CATALOGUE) == len(of_catalogue) - len(BESIDE_THE_PRODUCTS) == len(TABLES)


@pytest.mark.parametrize("product", TABLES)
def test_a_products_table_has_its_columns_and_its_folder(product: str) -> None:
    table = TABLES_OF_CATALOGUE[f"s3://${{ReportsBucket}}/data/product={product}/"]
    described = table["TableInput"]

    assert table["DatabaseName"] == {"Ref": "UsageDatabase"}
    # What SQL need not quote: https://docs.aws.amazon.com/athena/latest/ug/tables-databases-columns-names.html
    assert re.fullmatch(r"[a-z][a-z0-9_]*", described["Name"])
    assert described["Name"] == product.lower().replace("-", "_")
    assert [(each["Name"], each["Type"]) for each in described["StorageDescriptor"]["Columns"]] == [
        (column.name, column.type.value) for column in TABLES[product].all_columns
    ]


def test_a_table_is_partitioned_as_the_keys_of_its_objects_are() -> None:
    folders = re.findall(r"([a-z]+)=", dataset_key(RUN_INPUT))

    for table in TABLES_OF_CATALOGUE.values():
        keys = [each["Name"] for each in table["TableInput"]["PartitionKeys"]]
        assert ["product", *keys] == folders


NAMED = [
    pytest.param(name, key, id=f"{name}-{key}")
    for name, resource in RESOURCES.items()
    for key in resource.get("Properties", {})
    # A table is named within its database, a metric is what an alarm reads.
    if re.fullmatch(r"Name|\w+Name", key) and key not in ("DatabaseName", "OmitName", "MetricName")
]


@pytest.mark.parametrize(("name", "key"), NAMED)
def test_what_has_a_name_bears_the_stacks(name: str, key: str) -> None:
    # A name that two stacks share would let only one of them be deployed.
    assert "AWS::StackName" in str(RESOURCES[name]["Properties"][key])


def test_nothing_is_exported() -> None:
    # The name of an export is one for all stacks of an account and region.
    assert not any("Export" in output for output in TEMPLATE["Outputs"].values())


def test_two_stacks_of_one_account_have_two_databases() -> None:
    name = RESOURCES["UsageDatabase"]["Properties"]["DatabaseInput"]["Name"]

    # A stack's name has letters, digits and hyphens, and is its own.
    assert name == {"Fn::Join": ["_", {"Fn::Split": ["-", {"Ref": "AWS::StackName"}]}]}


def test_nobody_may_change_the_catalogue_but_by_adding_a_partition_of_this_stack() -> None:
    found = [
        (name, action, resource)
        for name, statement in statements()
        for action in many(statement["Action"])
        if action.startswith("glue:")
        for resource in many(statement["Resource"])
    ]

    assert {(name, action) for name, action, _ in found} == {
        ("ConvertReportFunction", "glue:CreatePartition")
    }
    assert [resource["Fn::Sub"].rpartition("}:")[2] for *_, resource in found] == [
        "catalog",
        "database/${UsageDatabase}",
        "table/${UsageDatabase}/*",
    ]


def test_the_table_has_the_keys_of_the_ledger_and_can_be_restored() -> None:
    table = RESOURCES["LedgerTable"]["Properties"]

    assert table["BillingMode"] == "PAY_PER_REQUEST"
    assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert {each["AttributeName"] for each in table["AttributeDefinitions"]} == {
        each["AttributeName"] for each in table["KeySchema"]
    }


def test_what_nobody_could_handle_is_kept_for_two_weeks() -> None:
    queue = RESOURCES["UndeliveredEventsQueue"]["Properties"]

    assert queue["MessageRetentionPeriod"] == 14 * 24 * 60 * 60
