"""
Register two chest phantoms
===========================
"""

import acreg

print(acreg.__version__)
