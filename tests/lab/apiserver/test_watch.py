from isthmus.lab.apiserver import watch
from isthmus.lab.apiserver.kinds import CONFIG_MAPS
from isthmus.lab.apiserver.objects import labels_of
from isthmus.lab.apiserver.store import Key, Store
from isthmus.lab.apiserver.watch import Feed, Watches


def _put(store: Store, name: str, namespace: str = "a", **labels: str) -> None:
    meta = {"name": name, "namespace": namespace, "labels": labels}
    store.commit(CONFIG_MAPS, Key(namespace, name), {"metadata": meta})


async def _types(feed: Feed) -> list[str]:
    return [type_ for type_, _ in await feed.next_batch(0) or []]


async def test_watchers_share_the_bytes_of_a_line() -> None:
    store = Store()
    watches = Watches(store)
    feeds = [watches.open(CONFIG_MAPS, "", None, after=None) for _ in range(2)]
    _put(store, "one")
    lines = [event.line(type_) for feed in feeds for type_, event in await feed.next_batch(0) or []]
    assert len(lines) == 2
    assert lines[0] is lines[1]


async def test_a_feed_starts_after_the_revision_asked_for() -> None:
    store = Store()
    watches = Watches(store)
    _put(store, "one")
    _put(store, "two")
    feed = watches.open(CONFIG_MAPS, "", None, after=1)
    batch = await feed.next_batch(0)
    assert batch is not None
    assert [event.change.key.name for _, event in batch] == ["two"]


async def test_other_namespaces_are_not_told() -> None:
    store = Store()
    feed = Watches(store).open(CONFIG_MAPS, "a", None, after=None)
    _put(store, "one", "b")
    assert await _types(feed) == []


async def test_a_selection_turns_changes_into_coming_and_going() -> None:
    store = Store()
    feed = Watches(store).open(CONFIG_MAPS, "", lambda one: "in" in labels_of(one), after=None)
    _put(store, "one")
    _put(store, "one", **{"in": "yes"})
    _put(store, "one", **{"in": "still"})
    _put(store, "one")
    store.commit(CONFIG_MAPS, Key("a", "one"), None)
    assert await _types(feed) == ["ADDED", "MODIFIED", "DELETED"]


async def test_a_deleted_object_carries_the_revision_of_its_deletion() -> None:
    store = Store()
    feed = Watches(store).open(CONFIG_MAPS, "", None, after=None)
    _put(store, "one")
    store.commit(CONFIG_MAPS, Key("a", "one"), None)
    batch = await feed.next_batch(0)
    assert batch is not None
    type_, event = batch[-1]
    assert type_ == "DELETED"
    assert b'"resourceVersion":"2"' in event.line(type_)


async def test_a_watcher_that_does_not_read_is_closed() -> None:
    store = Store()
    feed = Watches(store).open(CONFIG_MAPS, "", None, after=None)
    for _ in range(watch.QUEUE + 1):
        _put(store, "one")
    assert await feed.next_batch(0) is None


async def test_a_forgotten_watcher_is_told_no_more() -> None:
    store = Store()
    watches = Watches(store)
    feed = watches.open(CONFIG_MAPS, "", None, after=None)
    watches.forget(CONFIG_MAPS, feed)
    _put(store, "one")
    assert await _types(feed) == []
