"""A small language model: `config` at the bottom, its parts, `experiment` on top."""
