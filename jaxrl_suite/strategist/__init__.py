"""Bi-level search over strategies written as text: an outer search writes them, batched tree search plays them."""
