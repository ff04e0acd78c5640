"""Search in GOPS: `config` at the bottom, its parts, `experiment` on top."""
