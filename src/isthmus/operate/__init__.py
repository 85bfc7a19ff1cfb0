"""What an operator's commands do to clusters: join, rotate, leave, preflight. It runs no server."""
