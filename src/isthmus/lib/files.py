"""Room for open files: every connection is one, and the usual first limit is 1,024."""

import resource

_ENOUGH = 1 << 20


def allow_many_files() -> None:
    """Raise this process's own limit of open files to what it may be, a million at most."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
