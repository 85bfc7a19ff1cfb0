"""Whether clusters can make one mesh: facts are collected at the edge, and judged by pure checks."""
