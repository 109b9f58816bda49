from . import results as results
from . import study as study
