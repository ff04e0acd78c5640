"""Bi-level search over strategies written as text: an outer search writes them, batched tree search plays them.

Names are imported when they are first used. `services.services` makes a judge into what searches ask, and
`evolve.evolve` is a whole search as a generator.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
