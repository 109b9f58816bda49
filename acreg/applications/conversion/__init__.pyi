from .acregnet import convert_checkpoint as convert_checkpoint
from .voxelmorph import convert_weights as convert_weights
from .weights import Converted as Converted
