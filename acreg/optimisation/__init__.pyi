from .continuous import Settings as Settings
from .engine import Engine as Engine
from .engine import EngineResult as EngineResult
from .guides import Guides as Guides
from .names import DEFAULT as DEFAULT
from .names import NAMES as NAMES
from .similarities import Similarity as Similarity
from .similarities import model_features as model_features
