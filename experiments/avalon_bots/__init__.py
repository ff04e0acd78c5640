"""Avalon among bots: `config` at the bottom, its parts, `experiment` on top."""
