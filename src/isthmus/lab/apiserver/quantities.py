"""Quantities: what they are worth, and how the server writes them. Pure.

Source: k8s.io/apimachinery `resource.Quantity`: nothing is finer than a billionth, and a quantity is written
without a fraction, with the largest suffix of its own sort that loses nothing.
"""

import re
from functools import lru_cache

_FORM = re.compile(r"([+-]?)([0-9]+\.?[0-9]*|\.[0-9]+)(?:([eE][+-]?[0-9]+)|([numkMGTPE]|[KMGTPE]i)?)\Z")
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_BILLION = 10**9
_LONGEST = 64


@lru_cache(1024)
def billionths(text: str) -> int:
    """How many billionths a quantity is, rounded away from zero; ValueError where it is none."""
    return _read(text)[0]


@lru_cache(1024)
def canonical(text: str) -> str:
    """The quantity as the server writes it; ValueError where it is none."""
    worth, sort = _read(text)
    sign, worth = ("-", -worth) if worth < 0 else ("", worth)
    if sort == "binary" and worth >= 1024 * _BILLION:
        number, power = -(-worth // _BILLION), 0
        while number % 1024 == 0 and power < len(_BINARY) - 1:
            number, power = number // 1024, power + 1
        return f"{sign}{number}{_BINARY[power]}"
    number, power = worth, -9
    while number and number % 1000 == 0 and power < 18:
        number, power = number // 1000, power + 3
    if not number:
        return "0"
    if sort == "exponent":
        return f"{sign}{number}{f'e{power}' if power else ''}"
    suffix = next(name for name, exponent in _DECIMAL.items() if exponent == power)
    return f"{sign}{number}{suffix}"


def _read(text: str) -> tuple[int, str]:
    """Billionths, and of which sort its suffix is: decimal, exponent or binary."""
    match = _FORM.match(text) if len(text) <= _LONGEST else None
    if match is None:
        raise ValueError(f"{text!r} is no quantity")
    sign, digits, exponent, suffix = match.groups(default="")
    whole, _, fraction = digits.partition(".")
    number, scale = int(whole + fraction or "0"), -len(fraction)
    sort = "exponent" if exponent else "binary" if suffix.endswith("i") else "decimal"
    if sort == "binary":
        number *= 1024 ** _BINARY.index(suffix)
    else:
        scale += int(exponent[1:]) if exponent else _DECIMAL[suffix]
    scale = min(scale, _LONGEST) + 9
    worth = number * 10**scale if scale >= 0 else -(-number // 10 ** min(-scale, 4 * _LONGEST))
    return (-worth if sign == "-" else worth), sort
