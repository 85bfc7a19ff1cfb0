"""What can be wrong with a mapping file or with one sample."""

from isthmus.lib.errors import UserError


class MappingRefused(UserError):  # noqa: N818 - it is said of the file, as elsewhere in the house
    """A mapping file that cannot be used. At the start: end with its text; later: keep the last good one."""

    def __init__(self, field: str, reason: str) -> None:
        where = f"{field}: " if field else ""
        super().__init__(f"The mapping is refused: {where}{reason}; correct it there.")


class SampleRefused(Exception):  # noqa: N818
    """A well-formed sample that finds no series. Count it by `reason`, and go on."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
