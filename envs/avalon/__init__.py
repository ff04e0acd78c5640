"""The Resistance: Avalon: roles, rules, views, turns, logs and pictures of it."""
