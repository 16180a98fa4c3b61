"""What a cluster costs: the table before anything starts, the agreement to it, and when a watch ends it."""

import csv
import io
import random
import re
import sys
from dataclasses import replace

import pytest
import yaml

from tests.cluster.files import filled
from wsc_ray.autostop.limits import Limits, limits_of
from wsc_ray.autostop.orders import Orders, merged, orders_from
from wsc_ray.autostop.verdict import SeenJob, verdict
from wsc_ray.errors import ClusterError
from wsc_ray.prices.machine_types import LIST, machines_of, price_of
from wsc_ray.prices.offer import as_text, offer_of
from wsc_ray.provision import launcher
from wsc_ray.provision.cluster_file import read_cluster_file
from wsc_ray.provision.launcher import Launcher
from wsc_ray.remote import bring_up
from wsc_ray.remote.money import Spending, agree, on_a_cluster

MARKS = {
    "aws.yaml": {
        "ami_CHANGE_ME": "ami-1",
        "subnet_CHANGE_ME": "subnet-1",
        "sg_CHANGE_ME": "sg-1",
        "CHANGE_ME_BUCKET": "bucket",
    },
    "gcp.yaml": {"CHANGE_ME_PROJECT": "project", "CHANGE_ME_BUCKET": "bucket"},
    "kuberay.yaml": {"CHANGE_ME_CLASS": "nfs", "CHANGE_ME_REGISTRY": "registry"},
    "local.yaml": {
        "CHANGE_ME_HEAD": "a",
        "CHANGE_ME_SECOND": "b",
        "CHANGE_ME_THIRD": "c",
        "CHANGE_ME_USER": "me",
        "CHANGE_ME_FOLDER": "mnt",
    },
}


@pytest.fixture
def cluster_file(tmp_path):
    """`cluster_file(name, change)` is a file of `cluster/`, filled in, with what `change` does to its last document."""

    def write(name, change=lambda config: None):
        documents = filled(name, **MARKS[name])
        change(documents[-1])
        (tmp_path / name).write_text(yaml.safe_dump_all(documents))
        return read_cluster_file(tmp_path / name)

    return write


def workers(config):
    return config["available_node_types"]["worker"]


@pytest.mark.parametrize("name", ["aws.yaml", "gcp.yaml"])
def test_the_table_names_machines_numbers_spot_prices_their_date_and_source(cluster_file, name):
    file = cluster_file(name)
    head, worker = machines_of(file)
    assert (head.least, head.most, head.spot) == (1, 1, False)
    assert (worker.least, worker.most, worker.spot) == (1, 4, True)
    text = as_text(offer_of(file), 5 * 3600)
    for each in (head, worker):
        (line,) = [line for line in text.splitlines() if f" {each.machine} " in line]
        assert f"{each.price.dollars:.3f}" in line
        assert f"{each.price.date}, {each.price.source}" in line
        assert re.match(
            rf" +{'1 to 4' if each is worker else '1'} +\S+ +{'spot' if each is worker else 'on demand'} ", line
        )
    least, most = head.price.dollars + worker.price.dollars, head.price.dollars + 4 * worker.price.dollars
    assert f"in all {least:.2f} to {most:.2f} dollars an hour" in text
    assert f"after 5 hours at the latest: {5 * most:.2f} dollars at most" in text


def test_the_most_machines_are_what_the_file_allows_in_all(cluster_file):
    def change(config):
        config["max_workers"] = 3
        workers(config).update(min_workers=2, max_workers=100)

    assert [(each.least, each.most) for each in machines_of(cluster_file("aws.yaml", change))] == [(1, 1), (2, 3)]


@pytest.mark.parametrize(
    ("name", "change", "machine"),
    [
        ("aws.yaml", lambda config: workers(config)["node_config"].update(InstanceType="x9.huge"), "x9.huge"),
        ("aws.yaml", lambda config: config["provider"].update(region="eu-south-1"), "g6.2xlarge, m5.large"),
        (
            "gcp.yaml",
            lambda config: workers(config)["node_config"].update(
                machineType="n2-standard-2", guestAccelerators=[{"acceleratorType": "a/b/t4", "acceleratorCount": 1}]
            ),
            "n2-standard-2 + 1 t4",
        ),
    ],
)
def test_a_machine_that_the_list_does_not_know_is_named_and_never_priced(cluster_file, name, change, machine):
    file = cluster_file(name, change)
    offer = offer_of(file)
    assert offer.least is None
    assert offer.most is None
    text = as_text(offer, 3600)
    assert f"the list of prices lacks {machine}, so that no total can be given" in text
    assert "not known" in text
    assert "in all" not in text
    assert "dollars at most" not in text
    with pytest.raises(ClusterError, match=r"--max-cost: .*the list of prices lacks a machine"):
        on_a_cluster(file, Spending(max_cost=5))
    assert on_a_cluster(file, Spending(max_hours=1)).orders.dollars_an_hour is None


def test_the_list_of_prices_is_dated_and_knows_the_machines_of_our_files():
    with LIST.open() as file:
        rows = list(csv.DictReader(file))
    assert all(re.fullmatch(r"20\d\d(-\d\d){0,2}", row["date"]) for row in rows)
    assert all(row["source"].startswith("https://") and float(row["dollars"]) > 0 for row in rows)
    keys = [(row["provider"], region, row["machine"]) for row in rows for region in row["regions"].split()]
    assert len(keys) == len(set(keys))
    assert price_of("aws", "us-west-2", "m5.large").dollars == 0.096
    assert price_of("aws", "us-west-2", "") is None


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_without_a_terminal_it_prints_and_goes_on_only_with_yes(cluster_file, monkeypatch, capsys):
    money = on_a_cluster(cluster_file("aws.yaml"), Spending())
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    with pytest.raises(ClusterError, match=r"nothing was started: .*--yes"):
        agree(money, yes=False)
    assert "m5.large" in capsys.readouterr().out
    agree(money, yes=True)
    assert "m5.large" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("typed", "agreed"), [("y\n", True), ("YES\n", True), ("n\n", False), ("\n", False), ("", False)]
)
def test_a_person_is_asked(cluster_file, monkeypatch, typed, agreed):
    money = on_a_cluster(cluster_file("gcp.yaml"), Spending())
    monkeypatch.setattr(sys, "stdin", Terminal(typed))
    if agreed:
        agree(money, yes=False)
    else:
        with pytest.raises(ClusterError, match="nothing was started"):
            agree(money, yes=False)


@pytest.mark.parametrize("name", ["local.yaml", "kuberay.yaml"])
def test_what_costs_nothing_here_is_not_asked_about(cluster_file, monkeypatch, capsys, name):
    money = on_a_cluster(cluster_file(name), Spending())
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    agree(money, yes=False)
    assert capsys.readouterr().out == ""


def test_a_limit_that_nothing_keeps_is_refused(cluster_file):
    file = cluster_file("kuberay.yaml")
    for spending in (Spending(max_hours=1), Spending(autostop="5"), Spending(keep_failed=3), Spending(max_cost=3)):
        with pytest.raises(ClusterError, match="nothing takes a cluster of kuberay down by itself"):
            on_a_cluster(file, spending)
    assert on_a_cluster(file, Spending(autostop="never")).orders is None


def test_limits_are_read_in_minutes_hours_and_dollars():
    assert limits_of() == Limits(600, 1800, None)
    assert limits_of(autostop="0.5", keep_failed=2, max_hours=3) == Limits(30, 120, 3 * 3600)
    assert limits_of(autostop="never", max_hours=1) == Limits(None, 1800, 3600)
    assert limits_of(max_cost=10, dollars_an_hour=4) == Limits(600, 1800, 2.5 * 3600)
    assert limits_of(max_cost=10, max_hours=1, dollars_an_hour=4).longest == 3600
    assert limits_of(max_cost=10, dollars_an_hour=0).longest is None, "machines of one's own"


@pytest.mark.parametrize(
    "given",
    [{"autostop": "soon"}, {"autostop": "0"}, {"autostop": "-1"}, {"autostop": "nan"}, {"keep_failed": 0.0}]
    + [
        {"max_hours": -2.0},
        {"max_hours": float("inf")},
        {"max_hours": 1e12},
        {"max_cost": 0.0, "dollars_an_hour": 1.0},
    ],
)
def test_a_limit_that_is_no_number_is_a_sentence(given):
    option = "--" + next(iter(given)).replace("_", "-")
    with pytest.raises(ClusterError, match=f"{option} .*: give a number above 0"):
        limits_of(**given)


def test_orders_travel_as_text():
    orders = Orders(Limits(1, 2, 3), "wsc-ray", "s3://bucket/lab", 1.5)
    assert orders_from(orders.to_json()) == orders
    assert orders_from(replace(orders, changes=("idle",)).to_json()).changes == ("idle",)


def test_a_cluster_that_is_up_gets_the_limits_that_are_given_and_keeps_the_others():
    first = merged(Orders(Limits(1, 2, 3), "wsc-ray", None, 0.0), None, now=10)
    assert (first.given, first.since) == (10, 10)
    given = Spending(autostop="5").limited
    second = merged(Orders(Limits(50, 60, None), "wsc-ray", None, 0.0, given), first, now=20)
    assert second.limits == Limits(50, 2, 3)
    assert (second.given, second.since) == (20, 10), "the hours go on from where they began"
    given = Spending(max_hours=1).limited
    third = merged(Orders(Limits(7, 8, 9), "wsc-ray", None, 0.0, given), second, now=30)
    assert third.limits == Limits(50, 2, 9)
    assert (third.given, third.since) == (30, 30)
    assert merged(Orders(Limits(), "wsc-ray", None, 0.0), third, now=40).limits == Limits(), "brought up anew"


def job(status, ended=None, started=0.0):
    return SeenJob("job-1", status, started, ended)


LIMITS = Limits(idle=10, failed=30, longest=100, first=0)


@pytest.mark.parametrize(
    ("now", "busy", "jobs", "why"),
    [
        (9, 0, [], None),
        (10, 0, [], "no job had run for 10 seconds"),
        (50, 0, [job("RUNNING")], None),
        (50, 0, [job("PENDING")], None),
        (50, 45, [], None),
        (54, 0, [job("SUCCEEDED", 45)], None),
        (55, 0, [job("SUCCEEDED", 45)], "no job had run for 10 seconds"),
        (55, 0, [job("STOPPED", 45)], "no job had run for 10 seconds"),
        (74, 0, [job("FAILED", 45)], None),
        (75, 0, [job("FAILED", 45)], "no job had run for 30 seconds since job-1 failed"),
        (60, 0, [job("FAILED", 40), job("SUCCEEDED", 45)], "no job had run for 10 seconds"),
        (60, 0, [job("SUCCEEDED", 40), job("FAILED", 45)], None),
        (10, 0, [job("FAILED", -5)], "no job had run for 10 seconds"),
        (99, 99, [job("RUNNING")], None),
        (100, 100, [job("RUNNING")], "the cluster was taken down after 100 seconds"),
    ],
)
def test_when_a_cluster_is_taken_down(now, busy, jobs, why):
    found = verdict(LIMITS, now=now, began=0, since=0, busy=busy, jobs=jobs)
    assert found is None if why is None else found.startswith(why)


@pytest.mark.parametrize(
    ("now", "jobs", "ends"),
    [
        (1049, [], False),
        (1050, [], True),
        (1049, [job("SUCCEEDED", 900, started=800)], False),  # of an earlier client
        (1025, [job("SUCCEEDED", 1014, started=1001)], True),
        (1025, [job("SUCCEEDED", 1016, started=1001)], False),
    ],
)
def test_a_client_has_time_to_send_its_first_job(now, jobs, ends):
    limits = Limits(idle=10, failed=10, first=50)
    assert (verdict(limits, now=now, began=1000, since=1000, busy=1000, jobs=jobs) is not None) == ends


def test_a_cluster_that_may_stay_stays():
    for seed in range(100):
        drawn = random.Random(seed)
        jobs = [
            job(drawn.choice(["SUCCEEDED", "FAILED", "STOPPED", "RUNNING"]), drawn.uniform(0, 50)) for _ in range(3)
        ]
        assert verdict(Limits(None, 1, None), now=drawn.uniform(0, 1e9), began=0, since=0, busy=0, jobs=jobs) is None


RAY_THAT_FAILS = """#!/bin/sh
echo "$@" >> {asked}
case "$1" in
  up) exit 1 ;;
  exec) {exec} ;;
esac
"""


@pytest.mark.parametrize(
    ("down", "watch", "taken_down"),
    [
        ("on-success", "exit 0", False),  # for somebody to look, until the watch ends it
        ("on-success", "exit 1", True),  # nobody would end it
        ("always", "exit 0", True),
        ("never", "exit 0", False),
    ],
)
def test_a_start_that_fails_half_way_is_watched_or_taken_down(
    cluster_file, monkeypatch, tmp_path, capsys, down, watch, taken_down
):
    ray, asked = tmp_path / "ray", tmp_path / "asked"
    ray.write_text(RAY_THAT_FAILS.format(asked=asked, exec=watch))
    ray.chmod(0o755)
    monkeypatch.setattr(launcher, "RAY", str(ray))
    limits = Limits()
    with pytest.raises(ClusterError, match=r"`ray up .*` failed"):
        bring_up._start(Launcher(cluster_file("aws.yaml")), down, limits, Orders(limits, "wsc-ray", None, 1.0))
    words = [line.split()[0] for line in asked.read_text().splitlines()]
    assert ("down" in words) == taken_down
    said = capsys.readouterr().err
    assert ("is still up, as far as it came" in said) == (not taken_down)
    assert ("its head does when no job has run for 10 minutes" in said) == (not taken_down and down != "never")
