from . import experiment as experiment
from . import results as results
from . import study as study
