"""Judges of strategies: games between them, key states, leagues; of dialogue guides, ratings by listeners."""
