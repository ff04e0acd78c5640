"""Avalon as a benchmark: exact beliefs about who is who, the naive bots, and one driver that seats any players.

Names are imported when they are first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
