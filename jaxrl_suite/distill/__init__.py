"""Dataset distillation for offline reinforcement learning: tens of pairs that train a policy in a second."""
