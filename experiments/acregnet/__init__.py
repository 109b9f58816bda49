"""What the AC-RegNet paper reports: its recipes, and its experiment on plausible and implausible anatomy."""
