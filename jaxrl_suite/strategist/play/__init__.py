"""Searching players with a heuristic each, and how strong they are against exact opponents."""
