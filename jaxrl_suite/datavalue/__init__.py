"""Data valuation: what points are worth, as semivalues and as sequential decisions, with exact oracles.

Names are imported when they are first used. `curvature` is a module: `curvature.report`, `curvature.curvature`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
