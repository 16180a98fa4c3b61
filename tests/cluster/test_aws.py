"""`cluster/aws-account.yaml` and `aws.yaml` in a stand-in for AWS (moto): what is made and asked for is what they say."""

import contextlib
import json
from types import SimpleNamespace

import boto3
import pytest
import yaml
from moto import mock_aws

from tests.cluster.files import ask_for_all, filled, read
from wsc_ray.autostop.clouds import Aws, end_step

REGION, MY_ADDRESS, BUCKET = "us-west-2", "203.0.113.7/32", "my-bucket"


@contextlib.contextmanager
def stand_in():
    """moto in this process. It keeps what lies in its stores: the S3 server of other tests has its bucket there."""
    mock = mock_aws()
    mock.start(reset=False)
    try:
        yield
    finally:
        mock.stop(remove_data=False)


@pytest.fixture(scope="module")
def aws(home):
    """An account in which the stack was made, and the machines that `aws.yaml` asks for."""
    with stand_in(), pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ACCESS_KEY_ID", "tests")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "tests-only")
        ec2 = boto3.client("ec2", REGION)
        subnet = ec2.describe_subnets(Filters=[{"Name": "default-for-az", "Values": ["true"]}])["Subnets"][0]
        made = _make_stack(Vpc=subnet["VpcId"], Subnet=subnet["SubnetId"], Bucket=BUCKET, MyAddress=MY_ADDRESS)
        (file,) = filled(
            "aws.yaml",
            ami_CHANGE_ME=ec2.describe_images()["Images"][0]["ImageId"],
            subnet_CHANGE_ME=subnet["SubnetId"],
            sg_CHANGE_ME=made["Network"],
            CHANGE_ME_BUCKET=BUCKET,
        )
        config, provider = ask_for_all(file)
        of_ray = [{"Name": "tag-key", "Values": ["ray-user-node-type"]}]  # other tests have machines there too
        groups = ec2.describe_instances(Filters=of_ray)["Reservations"]
        found = [instance for group in groups for instance in group["Instances"]]
        machines = {tag["Value"]: one for one in found for tag in one["Tags"] if tag["Key"] == "ray-user-node-type"}
        assert len(found) == len(machines) == 2
        yield SimpleNamespace(ec2=ec2, file=file, config=config, provider=provider, made=made, **machines)


def _make_stack(**parameters: str) -> dict[str, str]:
    """Logical name -> physical id."""
    cloud = boto3.client("cloudformation", REGION)
    cloud.create_stack(
        StackName="wsc-ray",
        TemplateBody=read("aws-account.yaml"),
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
        Capabilities=["CAPABILITY_NAMED_IAM"],
    )
    resources = cloud.list_stack_resources(StackName="wsc-ray")["StackResourceSummaries"]
    return {one["LogicalResourceId"]: one["PhysicalResourceId"] for one in resources}


def test_aws_head_is_on_demand_and_workers_are_spot_with_a_gpu(aws):
    types = aws.file["available_node_types"]
    assert aws.head["InstanceType"] == types["head"]["node_config"]["InstanceType"]
    assert aws.head.get("InstanceLifecycle") is None
    assert aws.worker["InstanceType"] == types["worker"]["node_config"]["InstanceType"]
    assert aws.worker["InstanceLifecycle"] == "spot"
    resources = {name: node_type["resources"] for name, node_type in aws.config["available_node_types"].items()}
    assert resources["head"]["CPU"] == 0
    assert resources["worker"]["GPU"] == 1
    assert aws.config["available_node_types"]["worker"]["max_workers"] > types["worker"]["min_workers"] >= 1


def test_aws_machines_have_roles_and_no_keys(aws):
    for machine, profile in ((aws.head, "HeadProfile"), (aws.worker, "WorkerProfile")):
        assert machine["IamInstanceProfile"]["Arn"].endswith(f"instance-profile/{aws.made[profile]}")
        assert machine["MetadataOptions"]["HttpTokens"] == "required"  # a role's keys are not read through a proxy
    assert "aws_credentials" not in aws.config["provider"]
    made_by_ray = {role["RoleName"] for role in boto3.client("iam").list_roles()["Roles"]} - {
        aws.made["HeadRole"],
        aws.made["WorkerRole"],
    }
    assert not made_by_ray


def test_aws_lets_in_ssh_from_one_address_and_nothing_else(aws):
    groups = {group["GroupId"] for machine in (aws.head, aws.worker) for group in machine["SecurityGroups"]}
    assert groups == {aws.made["Network"]}
    (group,) = aws.ec2.describe_security_groups(GroupIds=[aws.made["Network"]])["SecurityGroups"]
    outside = [
        rule for rule in group["IpPermissions"] if rule["IpRanges"] or rule["Ipv6Ranges"] or rule["PrefixListIds"]
    ]
    assert [(rule["FromPort"], rule["ToPort"], rule["IpRanges"]) for rule in outside] == [
        (22, 22, [{"CidrIp": MY_ADDRESS}])
    ]
    inside = [pair["GroupId"] for rule in group["IpPermissions"] for pair in rule["UserIdGroupPairs"]]
    assert inside == [aws.made["Network"]]


def test_aws_head_may_end_its_own_machines_alone(aws):
    policy = boto3.client("iam").get_role_policy(RoleName=aws.made["HeadRole"], PolicyName="workers")["PolicyDocument"]
    statements = (json.loads(policy) if isinstance(policy, str) else policy)["Statement"]
    (ends,) = [one for one in statements if "ec2:TerminateInstances" in one["Action"]]
    ((key, value),) = ends["Condition"]["StringEquals"].items()
    tag = key.removeprefix("ec2:ResourceTag/")
    for machine in (aws.head, aws.worker):
        assert {"Key": tag, "Value": value} in machine["Tags"]
    (passes,) = [one for one in statements if one["Action"] == "iam:PassRole"]
    assert passes["Resource"].endswith(f"role/{aws.made['WorkerRole']}")


def test_aws_a_cluster_ends_from_its_head_the_head_last_and_no_other(aws):
    """As the watch does it; whatever the role forbids, see above, is not asked for."""

    def start(cluster, kind):
        tags = [{"Key": "ray-cluster-name", "Value": cluster}, {"Key": "ray-node-type", "Value": kind}]
        made = aws.ec2.run_instances(
            ImageId=aws.head["ImageId"],
            MinCount=1,
            MaxCount=1,
            TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
        )
        return made["Instances"][0]["InstanceId"]

    def alive(*machines):
        found = aws.ec2.describe_instances(InstanceIds=list(machines))["Reservations"]
        states = {one["InstanceId"]: one["State"]["Name"] for group in found for one in group["Instances"]}
        return [machine for machine in machines if states[machine] in ("pending", "running")]

    head, *workers = start("mine", "head"), start("mine", "worker"), start("mine", "worker")
    others = [start("mine-too", "head"), start("mine-too", "worker"), aws.head["InstanceId"]]
    cloud = Aws("mine", {"region": REGION})
    assert end_step(cloud)
    assert alive(head, *workers) == [head]
    assert end_step(cloud)
    assert not alive(head, *workers)
    assert not end_step(cloud)
    assert alive(*others) == others
    aws.ec2.terminate_instances(InstanceIds=others[:2])


def test_aws_runs_lie_in_the_bucket_and_nothing_is_mounted(aws):
    assert aws.config["metadata"]["storage"] == f"s3://{BUCKET}/wsc-ray"
    assert "mount " not in str(aws.config["initialization_commands"] + aws.config["setup_commands"])


def test_aws_role_of_a_worker_opens_one_bucket():
    template = yaml.load(read("aws-account.yaml"), Loader=_Template)
    statements = template["Resources"]["BucketAccess"]["Properties"]["PolicyDocument"]["Statement"]
    assert {one["Resource"].partition(":s3:::")[2] for one in statements} == {"${Bucket}", "${Bucket}/*"}
    assert all(action.startswith("s3:") and "*" not in action for one in statements for action in one["Action"])
    worker = template["Resources"]["WorkerRole"]["Properties"]
    head = template["Resources"]["HeadRole"]["Properties"]
    assert worker["ManagedPolicyArns"] == head["ManagedPolicyArns"] == ["BucketAccess"]
    assert "Policies" not in worker


class _Template(yaml.SafeLoader):
    """CloudFormation's YAML, `!Sub x` read as `x`."""


_Template.add_multi_constructor("!", lambda loader, _, node: loader.construct_scalar(node))


def test_aws_machines_that_go_are_terminated_not_stopped(aws):
    """As `ray down` ends them."""
    aws.provider.terminate_nodes(aws.provider.non_terminated_nodes({}))
    states = [
        one["State"]["Name"] for group in aws.ec2.describe_instances()["Reservations"] for one in group["Instances"]
    ]
    assert set(states) <= {"shutting-down", "terminated"}
