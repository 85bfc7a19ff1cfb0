"""The agent's process: `python -m isthmus.apps.agent_process`; `isthmus agent` becomes it."""

import sys

# structlog loads rich, if there is one, to colour tracebacks: 4 MiB that every pod of the mesh would pay for.
sys.modules["rich"] = None  # type: ignore[assignment]  # the import system's own way to say: not there

from isthmus.apps.agent import main  # noqa: E402

if __name__ == "__main__":
    main()
