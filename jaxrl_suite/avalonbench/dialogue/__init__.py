"""Discussion in Avalon: scenes in words, speeches after a guide, ratings of what was said."""
