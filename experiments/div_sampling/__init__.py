"""Sampling diversity on countdown: `config` at the bottom, its parts, `experiment` on top."""
