"""Scattered Forest Search on list functions: `config` at the bottom, its parts, `experiment` on top."""
