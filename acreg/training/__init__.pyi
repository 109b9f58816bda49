from .live import LivePlot as LivePlot
from .new import new_recipe as new_recipe
from .recipe import find_recipe as find_recipe
from .recipe import load_recipe as load_recipe
from .recipe import shipped_recipes as shipped_recipes
from .run import run_recipe as run_recipe
from .schema import Recipe as Recipe
