"""Problems for small language models: a generator, tokens, and an exact verifier, all pure functions on arrays."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
