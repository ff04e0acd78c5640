"""Mazes that are made from their number, seen as images."""
