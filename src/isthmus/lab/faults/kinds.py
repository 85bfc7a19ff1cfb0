"""Which faults there are, and what each does. Pure."""

from enum import Enum


class Fault(Enum):
    """A fault that one cluster can suffer, by the name that an operator types."""

    API_STOP = "api-stop"
    API_HANG = "api-hang"
    API_DROP = "api-drop"
    API_SLOW = "api-slow"
    API_CUT = "api-cut"
    API_401 = "api-401"
    API_403 = "api-403"
    API_410 = "api-410"
    API_429 = "api-429"
    API_500 = "api-500"
    API_HTML = "api-html"
    API_GZIP = "api-gzip"
    API_ENDLESS = "api-endless"
    WATCH_STALL = "watch-stall"
    CLOCK_SKEW = "clock-skew"
    PARTITION = "partition"

    @property
    def effect(self) -> str:
        """What it does, in one clause."""
        return _EFFECTS[self]


SLOW_SECONDS = 2.0
SKEW_SECONDS = 3600
_EFFECTS = {
    Fault.API_STOP: "the API server is stopped, and connections are refused",
    Fault.API_HANG: "the API server accepts connections and never answers",
    Fault.API_DROP: "packets from other clusters to the API server are dropped",
    Fault.API_SLOW: f"the API server takes {SLOW_SECONDS:g} s longer for every answer",
    Fault.API_CUT: "lists and watches break off in the middle of an object",
    Fault.API_401: "the API server refuses every credential",
    Fault.API_403: "the API server forbids everything",
    Fault.API_410: "the API server finds every resource version too old",
    Fault.API_429: "the API server is too busy for anything",
    Fault.API_500: "the API server fails at everything",
    Fault.API_HTML: "a web page is served in the API server's place",
    Fault.API_GZIP: "compressed answers are cut off, and say that they are whole",
    Fault.API_ENDLESS: "answers never end",
    Fault.WATCH_STALL: "watches stay open and deliver nothing; lists are answered",
    Fault.CLOCK_SKEW: f"the API server's clock is {SKEW_SECONDS // 60} minutes ahead",
    Fault.PARTITION: "pods reach no pods of other clusters, and none reach them",
}
HOP_FAULTS = frozenset(
    {
        Fault.API_SLOW,
        Fault.API_CUT,
        Fault.API_401,
        Fault.API_403,
        Fault.API_410,
        Fault.API_429,
        Fault.API_500,
        Fault.API_HTML,
        Fault.API_GZIP,
        Fault.API_ENDLESS,
        Fault.WATCH_STALL,
    }
)
"""Those that a hop in front of the API server makes."""
NETWORK_FAULTS = frozenset({Fault.API_DROP, Fault.PARTITION})
"""Those that are packet filter rules and nothing else."""


def clashing(wanted: Fault, there: Fault) -> bool:
    """Whether one cluster cannot suffer both: its API server can be spoilt in one way at a time."""
    return wanted is there or not NETWORK_FAULTS & {wanted, there}
