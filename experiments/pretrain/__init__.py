"""Small models of token tasks, trained: `config` at the bottom, its parts, `experiment` on top."""
