"""Figures of images, fields and registrations, and the frame of an HTML page."""
