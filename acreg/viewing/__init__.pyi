from .page import View as View
from .page import view as view
