from isthmus.lab.apiserver.kinds import CONFIG_MAPS, SECRETS
from isthmus.lab.apiserver.store import HISTORY, Change, Key, Store, prefix_of


def _put(store: Store, name: str, namespace: str = "a", value: str = "") -> None:
    meta = {"name": name, "namespace": namespace}
    store.commit(CONFIG_MAPS, Key(namespace, name), {"metadata": meta, "data": {"v": value}})


def test_one_counter_numbers_the_changes_of_all_kinds() -> None:
    store = Store()
    _put(store, "one")
    store.commit(SECRETS, Key("a", "two"), {"metadata": {"name": "two"}})
    assert store.revision == 2
    found = store.get(SECRETS, Key("a", "two"))
    assert found is not None
    assert found.object["metadata"]["resourceVersion"] == "2"


def test_objects_are_encoded_with_their_type_in_front() -> None:
    store = Store()
    _put(store, "one")
    (found,) = store.values(CONFIG_MAPS)
    assert found.encoded.startswith(prefix_of(CONFIG_MAPS) + b",")


def test_values_are_sorted_and_narrowed_to_a_namespace() -> None:
    store = Store()
    for namespace, name in (("b", "x"), ("a", "z"), ("a", "y"), ("ab", "w")):
        _put(store, name, namespace)
    assert [key.name for key, _ in store.entries(CONFIG_MAPS)] == ["y", "z", "w", "x"]
    assert [key.name for key, _ in store.entries(CONFIG_MAPS, "a")] == ["y", "z"]


def test_an_earlier_state_is_rebuilt_from_the_history() -> None:
    store = Store()
    _put(store, "kept", value="old")
    _put(store, "removed")
    then = store.revision
    _put(store, "kept", value="new")
    store.commit(CONFIG_MAPS, Key("a", "removed"), None)
    _put(store, "added")
    past = {key.name: stored.object["data"]["v"] for key, stored in store.entries(CONFIG_MAPS, at=then)}
    assert past == {"kept": "old", "removed": ""}


def test_changes_are_remembered_only_so_far() -> None:
    store = Store()
    for number in range(HISTORY + 5):
        _put(store, "one", value=str(number))
    assert not store.remembers(CONFIG_MAPS, 4)
    assert store.remembers(CONFIG_MAPS, 5)
    assert [change.revision for change in store.changes_after(CONFIG_MAPS, HISTORY + 3)] == [
        HISTORY + 4,
        HISTORY + 5,
    ]


def test_listeners_hear_what_was_and_what_is() -> None:
    store = Store()
    heard: list[Change] = []
    store.listen(heard.append)
    _put(store, "one")
    store.commit(CONFIG_MAPS, Key("a", "one"), None)
    assert [(change.old is None, change.new is None) for change in heard] == [(True, False), (False, True)]


def test_restored_objects_keep_their_version_and_cannot_be_resumed_from() -> None:
    store = Store()
    store.restore(CONFIG_MAPS, Key("a", "one"), {"metadata": {"name": "one"}}, 41)
    assert store.revision == 41
    assert store.remembers(CONFIG_MAPS, 41)
    assert not store.remembers(CONFIG_MAPS, 40)
