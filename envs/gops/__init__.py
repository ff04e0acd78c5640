"""The Game of Pure Strategy."""
