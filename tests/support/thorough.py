"""How many examples property tests try: a few each time, many more in `make soak`."""

import os

_FACTOR = int(os.environ.get("ISTHMUS_SOAK", "1"))


def examples(usual: int) -> int:
    """`usual`, times the factor in the environment variable ISTHMUS_SOAK."""
    return usual * _FACTOR
