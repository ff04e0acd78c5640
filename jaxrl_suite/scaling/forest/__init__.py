"""Search over whole solutions: Scattered Forest Search and its rivals, on one interface to a model that thinks."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
