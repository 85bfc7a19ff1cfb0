"""The mesh's own words: frozen types that every room above speaks. No I/O, no behaviour beyond naming."""
