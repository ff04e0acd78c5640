"""Research systems for search, reinforcement learning and language models as pure JAX functions."""

__version__ = "0.1.0"
