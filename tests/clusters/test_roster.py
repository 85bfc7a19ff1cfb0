"""Who speaks for a name: the same answer whatever the order in which Secrets are seen."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from isthmus.clusters.roster import Claim, Rank, decide, same_clusters
from isthmus.kube.access import Access
from isthmus.kube.decoding import Ref
from isthmus.model.service import ClusterId

OWN = ClusterId("home")


def claim(created: int, secret: str, name: str) -> Claim:
    return Claim(ClusterId(name), Rank(f"2026-01-0{created}", Ref("ns", secret), name), Access("https://x"))


claims = st.lists(
    st.builds(claim, st.integers(1, 3), st.sampled_from("abc"), st.sampled_from(("home", "east", "west"))),
    unique_by=lambda each: (each.secret, each.cluster),
)


@given(claims, st.randoms(use_true_random=False))
def test_every_replica_decides_alike_and_every_claim_wins_or_is_told_why_not(
    every: list[Claim], random: Random
):
    shuffled = sorted(every, key=lambda _: random.random())
    roster = decide(every, OWN)
    assert decide(shuffled, OWN) == roster
    assert OWN not in roster.winners
    assert len(roster.winners) + len(roster.losers) == len(every)
    for name, winner in roster.winners.items():
        assert winner.rank == min(each.rank for each in every if each.cluster == name)


def test_an_unknown_identity_is_like_no_other():
    names = [ClusterId(name) for name in "abcd"]
    ranks = {name: Rank(str(index), Ref("ns", "s"), name) for index, name in enumerate(names)}
    identities = dict(zip(names, ("", "uid", "", "uid"), strict=True))
    assert same_clusters(identities, ranks) == {"d": "b"}
