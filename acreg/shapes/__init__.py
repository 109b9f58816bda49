"""Surfaces of labelled regions and their matching."""

from acreg.shapes.matching import MATCHERS, Matcher, matcher
from acreg.shapes.surface_files import read_surfaces, write_surfaces
from acreg.shapes.surfaces import Surface, region_surface, thinned

__all__ = [
    "MATCHERS",
    "Matcher",
    "Surface",
    "matcher",
    "read_surfaces",
    "region_surface",
    "thinned",
    "write_surfaces",
]
