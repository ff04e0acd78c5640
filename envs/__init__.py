"""Games and environments."""
