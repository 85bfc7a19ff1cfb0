"""What `isthmus lab fault` refuses, and the packet rules that it puts."""

import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from isthmus.cli.lab import app
from isthmus.lab.faults.command import inject
from isthmus.lab.faults.kinds import Fault, clashing
from isthmus.lab.faults.packets import dropping_rules, leading_rules
from isthmus.lab.faults.record import Record, drop_record, read_records, write_record
from isthmus.lab.plan import ClusterPlan, plan_clusters
from isthmus.lab.processes import LabProcess
from isthmus.lib.errors import UserError

WEST, EAST, NORTH = plan_clusters(["west", "east", "north"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nonsense",), "api-hang     the API server accepts connections and never answers"),
        (("api-hang", "--for", "30"), "`30` is not a duration"),
        (("api-hang", "--for", "later"), "`later` is not a duration"),
    ],
)
def test_a_wrong_word_is_told_with_what_is_right(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(UserError) as error:
        CliRunner().invoke(app, ["fault", "east", *words], catch_exceptions=False)
    assert said in str(error.value)
    assert error.value.exit_code == 2


def test_no_time_at_all_is_refused() -> None:
    with pytest.raises(UserError, match="--for must be longer"):
        inject(EAST, Fault.API_HANG, timedelta(0))


def test_one_fault_of_the_api_server_at_a_time_beside_those_of_the_network() -> None:
    assert clashing(Fault.API_HANG, Fault.API_401)
    assert clashing(Fault.PARTITION, Fault.PARTITION)
    assert not clashing(Fault.PARTITION, Fault.API_HANG)
    assert not clashing(Fault.API_401, Fault.API_DROP)
    assert all(fault.effect for fault in Fault)


def test_a_partition_drops_both_ways_between_pods_and_nothing_else() -> None:
    rules = dropping_rules(EAST, [WEST, NORTH], Fault.PARTITION)
    assert len(rules) == 4
    for other in (WEST, NORTH):
        assert f"-t mangle -I FORWARD -s {EAST.pod_cidr} -d {other.pod_cidr} -j DROP" in rules
        assert f"-t mangle -I FORWARD -s {other.pod_cidr} -d {EAST.pod_cidr} -j DROP" in rules


def test_all_ways_to_the_api_server_lead_to_the_hop_but_its_own() -> None:
    rules = leading_rules(EAST, (EAST.node_address, 7000))
    assert len(rules) == 4
    assert all(f"--to-destination {EAST.node_address}:7000" in rule and "! --mark" in rule for rule in rules)
    assert sum(f"-d {EAST.service_cidr[1]} --dport 443" in rule for rule in rules) == 2


class _Elsewhere(ClusterPlan):
    """A cluster whose folder is a test's."""

    folder: Path

    @property
    def directory(self) -> Path:
        return self.folder


def elsewhere(folder: Path) -> ClusterPlan:
    plan = _Elsewhere("east", 1)
    object.__setattr__(plan, "folder", folder)
    return plan


def test_a_record_says_how_long_it_lasts_and_whether_anybody_holds_it(tmp_path: Path) -> None:
    plan = elsewhere(tmp_path)
    assert read_records(plan) == []
    record = Record(Fault.API_HANG, time.time(), time.time() + 30, keeper=1, in_force=True)
    write_record(plan, record)
    assert read_records(plan) == [record]
    assert record.describe(plan) == "api-hang whose keeper was killed"
    drop_record(plan, Fault.API_HANG)
    drop_record(plan, Fault.API_HANG)
    assert read_records(plan) == []


async def test_a_lab_process_that_does_not_run_is_stopped_already(tmp_path: Path) -> None:
    process = LabProcess(elsewhere(tmp_path), "apiserver")
    await process.stop()
    assert not process.is_alive()
    assert not process.is_run_through(sys.executable)
