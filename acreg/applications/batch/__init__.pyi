from . import commands as commands
from . import items as items
from . import pairs as pairs
from . import run as run
from . import tasks as tasks
