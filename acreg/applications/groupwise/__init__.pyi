from .averages import mean_affine as mean_affine
from .averages import mean_image as mean_image
from .averages import template_grid as template_grid
from .command import Template as Template
from .command import template as template
