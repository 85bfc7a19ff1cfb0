from pathlib import Path

from isthmus.lab.apiserver.journal import running_journal
from isthmus.lab.apiserver.kinds import CONFIG_MAPS, Kinds
from isthmus.lab.apiserver.store import Key, Store


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
