from . import atlases as atlases
from . import batch as batch
from . import classification as classification
from . import conversion as conversion
from . import inspection as inspection
from . import plausibility as plausibility
from . import shape_velocities as shape_velocities
from . import verification as verification
