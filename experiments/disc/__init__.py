"""DISC on exact chains: `config` at the bottom, its parts, `experiment` on top."""
