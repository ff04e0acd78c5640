"""Search over strategies that are texts: a proposer writes them, a judge scores them, a tree keeps them; knows no game.

`evolve.evolve` is a whole search as a generator, `journal.services` makes a judge into what searches ask, and
`rounds.search_rounds` runs many searches side by side in a run folder.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
