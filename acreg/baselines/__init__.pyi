from .baseline import Baseline as Baseline
from .baseline import baseline as baseline
from .tools import NAMES as NAMES
from .tools import TOOLS as TOOLS
from .tools import Tool as Tool
