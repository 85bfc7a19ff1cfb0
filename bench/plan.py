"""What a run of the benchmark is to do."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

Push = Callable[[str], Awaitable[float]]
"""Brings an address to every proxy; returns when the change was made."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How large the run is. `at_once`: how many proxies may be connecting at the same time; `storm`: how many
    more connect all at once in the end. `tls` is the folder with what proxies connect by, "" in plain text.
    """

    form: str
    proxies: int
    rounds: int
    cluster: str = "Kubernetes"
    at_once: int = 100
    storm: int = 0
    tls: str = ""
