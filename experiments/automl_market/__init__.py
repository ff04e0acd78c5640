"""The data market: `config` at the bottom, its parts, `experiment` on top."""
