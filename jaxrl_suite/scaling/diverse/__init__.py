"""Diversity of samples: prompts that are perturbed, what that gains by the law, and measures of how answers differ."""
