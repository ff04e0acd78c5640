"""Value heuristics: what they see, a grammar and a library of features, and pools of them that play."""
