"""Talk in Avalon: `config` at the bottom, its parts, `experiment` on top."""
