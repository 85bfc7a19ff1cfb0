from pathlib import Path

from isthmus.lab.apiserver import writing
from isthmus.lab.apiserver.journal import running_journal
from isthmus.lab.apiserver.kinds import CONFIG_MAPS, CUSTOM_RESOURCE_DEFINITIONS
from isthmus.lab.apiserver.objects import Object
from isthmus.lab.apiserver.served import Kinds
from isthmus.lab.apiserver.server import running_api_server
from isthmus.lab.apiserver.store import Key, Store
from tests.lab.apiserver.building import create, target


def _names(store: Store) -> list[str]:
    return [key.name for key, _ in store.entries(CONFIG_MAPS)]


def _put(store: Store, name: str) -> None:
    store.commit(CONFIG_MAPS, Key("a", name), {"metadata": {"name": name, "namespace": "a"}})


def test_a_server_that_is_started_again_goes_on(tmp_path: Path) -> None:
    file = tmp_path / "data" / "journal"
    first, second = Store(), Store()
    with running_journal(first, Kinds(), file):
        for name in ("kept", "removed"):
            _put(first, name)
        first.commit(CONFIG_MAPS, Key("a", "removed"), None)
    with running_journal(second, Kinds(), file):
        assert _names(second) == ["kept"]
        found = second.get(CONFIG_MAPS, Key("a", "kept"))
        assert found is not None
        assert found.object["metadata"]["resourceVersion"] == "1"
        assert second.revision > first.revision


def test_a_line_that_was_cut_short_is_dropped(tmp_path: Path) -> None:
    file = tmp_path / "journal"
    first, second, third = Store(), Store(), Store()
    with running_journal(first, Kinds(), file):
        _put(first, "whole")
        _put(first, "cut")
    file.write_bytes(file.read_bytes()[:-10])
    with running_journal(second, Kinds(), file):
        assert _names(second) == ["whole"]
        assert second.revision > first.revision
        _put(second, "later")
    with running_journal(third, Kinds(), file):
        assert _names(third) == ["later", "whole"]


def test_the_journal_is_private(tmp_path: Path) -> None:
    file = tmp_path / "journal"
    with running_journal(Store(), Kinds(), file):
        assert file.stat().st_mode & 0o777 == 0o600


def test_a_restart_rewrites_the_journal_with_what_is_there(tmp_path: Path) -> None:
    file = tmp_path / "journal"
    store = Store()
    with running_journal(store, Kinds(), file):
        for _ in range(50):
            _put(store, "one")
    with running_journal(Store(), Kinds(), file):
        assert len(file.read_bytes().splitlines()) == 2


async def test_custom_kinds_and_their_objects_survive_a_restart(tmp_path: Path) -> None:
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    definition: Object = {
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Cluster",
            "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
        },
    }
    async with running_api_server(tmp_path) as first:
        writing.create(first.cluster, target(CUSTOM_RESOURCE_DEFINITIONS), definition)
        widgets = first.cluster.kinds.find("example.com", "v1", "widgets")
        assert widgets is not None
        create(first.cluster, widgets, "one", spec={"size": 1})
    for _ in range(2):
        async with running_api_server(tmp_path) as again:
            widgets = again.cluster.kinds.find("example.com", "v1", "widgets")
            assert widgets is not None
            found = again.cluster.store.get(widgets, Key("", "one"))
            assert found is not None
            assert found.object["spec"] == {"size": 1}
