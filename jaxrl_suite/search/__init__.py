"""Batched tree search over games on mctx trees, with the exact solvers that it is measured by.

Names are imported when they are first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
