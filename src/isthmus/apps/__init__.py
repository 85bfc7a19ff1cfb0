"""One composition root a process: the only place where rooms are wired together."""
