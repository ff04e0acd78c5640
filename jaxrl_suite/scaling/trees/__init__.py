"""Tree search over prefixes of an answer: the policy of a tree, UCT by steps, DISC by beam and by tree, beam search."""
