"""The ground that methods learn on: policies, behaviour cloning, PPO, offline learners and offline data.

Names are imported when they are first used. `episodes`, `transitions` and `offline_fit` are modules.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
