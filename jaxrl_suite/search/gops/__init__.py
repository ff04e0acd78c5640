"""Exact GOPS: states by number, backward induction over hands, best responses and exploitability."""
