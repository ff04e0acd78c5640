"""A user's own problems, solved by a model and a search: `config` at the bottom, its parts, `experiment` on top."""
