"""Small parts that every room may use and that know nothing of the mesh."""
