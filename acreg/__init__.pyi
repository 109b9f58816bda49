from . import applications as applications
from . import baselines as baselines
from . import data as data
from . import errors as errors
from . import evaluation as evaluation
from . import experiments as experiments
from . import geometry as geometry
from . import io as io
from . import layers as layers
from . import losses as losses
from . import metrics as metrics
from . import models as models
from . import plotting as plotting
from . import registration as registration
from . import report as report
from . import shapes as shapes
from . import training as training
from .geometry import Image as Image
from .geometry import Transform as Transform
from .io import read_image as read_image
from .models import from_preset as from_preset

__version__: str
