from .files import inspect as inspect
from .images import inspect_image as inspect_image
from .transforms import inspect_transform as inspect_transform
