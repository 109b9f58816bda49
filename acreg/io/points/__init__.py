"""Points (landmarks) in CSV and in the markups of 3D Slicer."""

from acreg.io.points.points import Points, read_points, write_points

__all__ = ["Points", "read_points", "write_points"]
