"""Offline data: D4RL and Minari files, episodes, transitions, collection and reference scores."""
