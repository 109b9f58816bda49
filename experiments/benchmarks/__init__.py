"""Measurements of time, each a script that prints a table."""
