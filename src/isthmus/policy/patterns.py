"""How dear a regular expression is, before anybody runs it. Pure.

The runtime compiles an expression (RE2) each time that it is evaluated, so what counts is the size of its
program: about one for each character or class, times the repeats around it. Time is linear in the text.
"""

import re
from collections.abc import Sequence

MOST_WEIGHT = 512
_WIDE = 8
"""What `.` and negated classes weigh: they are of many byte sequences."""
_UNICODE = r"has a Unicode class (\p), which costs a millisecond each time; list the characters"
_TOKEN = re.compile(
    r"""
    (?P<escape>\\(?:x\{[0-9A-Fa-f]*\}|.))
    | (?P<set>\[\^?\]?(?:\[:\^?\w+:\]|\\.|[^\]\\])*\]?)
    | (?P<open>\((?:\?(?:P?<\w*>|[\w-]*[:)]?))?)
    | (?P<close>\))
    | (?P<repeat>\{(?P<low>\d+)(?:,(?P<high>\d*))?\})
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)


class TooHeavy(Exception):  # noqa: N818 - a finding
    """An expression that must be made smaller; the text says why."""


def check_weight(patterns: Sequence[str]) -> None:
    """Raises TooHeavy where these expressions, tried together, would cost too much."""
    total = sum(_weight(pattern) for pattern in patterns)
    if total > MOST_WEIGHT:
        raise TooHeavy(f"weighs {total}, repeated parts counted as often; at most {MOST_WEIGHT} is allowed")


def _weight(pattern: str) -> int:
    """The size of the program, roughly."""
    groups: list[list[int]] = [[]]
    for token in _TOKEN.finditer(pattern):
        text, parts = token[0], groups[-1]
        match token.lastgroup:
            case "escape" if text[1] in "pP":
                raise TooHeavy(_UNICODE)
            case "escape":
                parts.append(_WIDE if text[1] in "DSWC" else 1)
            case "set":
                if re.search(r"\\[pP]", text):
                    raise TooHeavy(_UNICODE)
                parts.append(_WIDE if text.startswith("[^") or re.search(r"\\[DSW]|\[:\^", text) else 1)
            case "open":
                if not text.endswith(")"):
                    groups.append([])
            case "close" if len(groups) > 1:
                groups[-2].append(sum(groups.pop()))
            case "repeat" | "low" | "high":
                if parts:
                    parts[-1] *= max(1, int((token["high"] or token["low"])[:6]))
            case _:
                parts.append(_WIDE if text == "." else 1)
    return sum(sum(parts) for parts in groups)
