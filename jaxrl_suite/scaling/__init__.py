"""Inference scaling: ways to spend samples of a language model on one problem, all on one sampler protocol."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
