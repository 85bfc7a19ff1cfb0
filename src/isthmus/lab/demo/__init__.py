"""The demonstration: what a newcomer sees of a mesh over two clusters, on real parts, with times."""
