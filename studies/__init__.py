"""Studies of single papers that are not commands of acreg. Run as ``python -m studies.<paper>.<study>``."""
