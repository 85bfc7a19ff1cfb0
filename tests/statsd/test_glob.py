import re

from hypothesis import given
from hypothesis import strategies as st

from isthmus.statsd.glob import GlobTrie

FIELDS = st.sampled_from(["a", "b", "*"])
MATCHES = st.lists(st.lists(FIELDS, min_size=1, max_size=4).map(".".join), max_size=12)
NAMES = st.lists(st.sampled_from(["a", "b", "c", ""]), min_size=1, max_size=4).map(".".join)


def trie(matches: list[str], *, ordered: bool = True) -> GlobTrie:
    made = GlobTrie(ordered=ordered)
    for index, match in enumerate(matches):
        made.add(match, index)
    return made


@given(MATCHES, NAMES)
def test_in_order_the_first_match_wins_as_if_each_were_tried(matches: list[str], name: str):
    tried = [
        (index, list(found.groups()))
        for index, match in enumerate(matches)
        if (found := re.fullmatch(re.escape(match).replace(r"\*", "([^.]*)"), name))
    ]
    assert trie(matches).find(name) == (tried[0] if tried else None)


def test_without_order_the_most_specific_field_from_the_left_wins():
    found = trie(["a.*.*", "a.*.d", "a.b.*"], ordered=False)
    assert found.find("a.b.d") == (2, ["d"])
    assert found.find("a.x.d") == (1, ["x"])
    assert found.find("a.x.y") == (0, ["x", "y"])


def test_without_order_a_dead_end_leads_back():
    assert trie(["a.b.c", "a.*.d"], ordered=False).find("a.b.d") == (1, ["b"])
