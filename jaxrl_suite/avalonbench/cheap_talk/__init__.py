"""A channel of claims beside Avalon, learned with no language model."""
