"""Learners beside the search over strategies: AlphaZero, a value network for Avalon, DeepRole."""
