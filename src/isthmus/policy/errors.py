"""What can be wrong with a call."""


class Malformed(Exception):  # noqa: N818 - the domain's word
    """A message that cannot be answered: the caller has to send another. The text says why."""
