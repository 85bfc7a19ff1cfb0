"""One lab for all of these tests: brought up when one first needs it, taken down after the last."""

import os
from collections.abc import AsyncGenerator, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from isthmus.lab.demo.deploy import LabCluster, connected, enter_prober
from isthmus.lab.demo.observe import Observed, running_prober
from isthmus.lab.demo.run import prepare
from isthmus.lab.down import take_down
from isthmus.lab.plan import ClusterPlan
from isthmus.lab.up import check_machine, running_lab
from isthmus.lib.errors import UserError
from tests.e2e.commands import lab, until_one_pilot

THREE = ("west", "east", "north")
_HERE = Path(__file__).parent
_SKIPPED: list[str] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.e2e)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for reason in _SKIPPED:
        terminalreporter.write_line(f"END-TO-END TESTS WERE SKIPPED: {reason}", red=True, bold=True)


@pytest.fixture(scope="package")
def machine() -> Generator[None]:
    """A machine that can hold a lab. CI must be one; elsewhere its absence is said aloud."""
    try:
        check_machine("demo")
    except UserError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error))
        _SKIPPED.append(str(error))
        pytest.skip(str(error))
    yield
    take_down()


@pytest.fixture(scope="module")
def three_clusters(machine: None) -> Generator[None]:
    """A lab of its own, with nothing installed."""
    take_down()
    lab("up", "--clusters", ",".join(THREE))
    yield
    take_down()


@dataclass(frozen=True)
class Mesh:
    """The demonstration's mesh, and the client's view of it while a test runs."""

    primary: LabCluster
    remote: LabCluster
    observed: Observed


@pytest.fixture
def plans(machine: None) -> Sequence[ClusterPlan]:
    lab("up")
    return running_lab()


@pytest_asyncio.fixture
async def mesh(plans: Sequence[ClusterPlan]) -> AsyncGenerator[Mesh]:
    """Everything deployed and answering, whatever the test before did."""
    async with connected(plans) as (primary, remote):
        await prepare(primary, [remote], lambda text: None)
        await until_one_pilot()
        async with running_prober(await enter_prober(primary)) as observed:
            for cluster in (primary, remote):
                await observed.first(lambda answer, name=cluster.name: answer.cluster == name, 0.0)
            yield Mesh(primary, remote, observed)
