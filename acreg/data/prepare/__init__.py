"""From raw images to prepared datasets: pictures of the public chest collections, and copies of your own images."""

from acreg._moved import forward

__getattr__ = forward(__name__, "acreg.data.prepare.pictures")
