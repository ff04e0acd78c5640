from .modchain import ModChain as ModChain
from .tokens import Example as Example
from .tokens import Text as Text
from .tokens import TokenTask as TokenTask
from .tokens import Verdict as Verdict
from .tokens import example as example
from .tokens import pad_rows as pad_rows
