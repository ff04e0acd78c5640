"""One script per system; the command `jaxrl-suite run NAME` finds them by file name."""
