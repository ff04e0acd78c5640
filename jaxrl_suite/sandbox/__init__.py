"""Running, grading and exporting code that somebody else wrote, without files, network or rights.

`sandbox` runs it, `programs` grades it against tests outside its reach, `export` hands a written `jnp` function back as
StableHLO. `inside/` is what runs within; it imports the standard library alone.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
