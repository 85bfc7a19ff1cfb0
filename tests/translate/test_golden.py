from pathlib import Path

import pytest

from isthmus.model.resources import CLUSTER, LISTENER
from tests.translate.cases import CASES, GOLDEN, golden_of, resources_of
from tests.translate.real_envoy import running_envoy


@pytest.mark.parametrize("case", CASES)
def test_translation_is_as_reviewed(case: str) -> None:
    assert golden_of(case) == (GOLDEN / f"{case}.yaml").read_text(), (
        "review the difference, then run `python -m tests.translate.cases`"
    )


@pytest.mark.parametrize("case", CASES)
async def test_a_real_envoy_takes_all_of_it_and_warns_of_nothing(case: str, tmp_path: Path) -> None:
    resources = resources_of(case)
    async with running_envoy(tmp_path, resources) as envoy:
        assert envoy.ads.refusals == []
        dump = await envoy.ask("/config_dump")
    [clusters] = [c for c in dump["configs"] if c["@type"].endswith("ClustersConfigDump")]
    [listeners] = [c for c in dump["configs"] if c["@type"].endswith("ListenersConfigDump")]
    assert {entry["cluster"]["name"] for entry in clusters["dynamic_active_clusters"]} == {
        r.name for r in resources if r.type_url == CLUSTER
    }
    assert {entry["name"] for entry in listeners["dynamic_listeners"] if "active_state" in entry} == {
        r.name for r in resources if r.type_url == LISTENER
    }
    assert envoy.log.read_text() == "", "a warning, perhaps of a deprecated field"
