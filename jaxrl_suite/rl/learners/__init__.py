"""Learners: PPO, cloning, TD3+BC and IQL. Import the module that you need, or the names in `rl`."""
