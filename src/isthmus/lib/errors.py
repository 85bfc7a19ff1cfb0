"""The one error that a person is meant to read as it is."""


class UserError(Exception):
    """Ends a command with one plain sentence and a way forward, never a traceback.

    `str(error)` is the whole text: what is wrong (naming object and field), then what to do.
    `exit_code` is 1 (failed) or 2 (wrong usage).
    """

    def __init__(self, text: str, *, exit_code: int = 1) -> None:
        super().__init__(text)
        self.exit_code = exit_code
