"""What strangers wrote, as logs and refusals may repeat it."""

_MOST = 256


def shown(text: object) -> str:
    """The text, cut to 256 characters and escaped where it would not print."""
    whole = str(text)
    cut = whole if len(whole) <= _MOST else whole[:_MOST] + "…"
    return cut if cut.isprintable() else ascii(cut)
