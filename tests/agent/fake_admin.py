"""An Envoy admin in memory, for what asks it."""

from dataclasses import dataclass, field

from isthmus.agent.errors import AdminUnreachableError


@dataclass
class FakeAdmin:
    """Answers from `stats`; `down` refuses everything. `asked` records every request in order."""

    stats: dict[str, int] = field(default_factory=dict[str, int])
    down: bool = False
    asked: list[str] = field(default_factory=list[str])

    async def get(self, path: str) -> str:
        self._note(f"GET {path}")
        return "".join(f"{name}: {value}\n" for name, value in self.stats.items())

    async def post(self, path: str) -> str:
        self._note(f"POST {path}")
        return "OK\n"

    def _note(self, request: str) -> None:
        self.asked.append(request)
        if self.down:
            raise AdminUnreachableError("connection refused")
