"""PNG, JPEG, TIFF, BMP and GIF."""
