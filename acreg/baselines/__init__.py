"""Classical registration programs under the same interface as the learned models.

A method is asked for by name, `tool:kind` or `tool:kind[option=value,...]`, and registers in physical space: the tools
see the spacing, origin and direction of both images, and what they find comes back as a `Transform`. The tools are
imported when a method is made.
"""

from acreg.baselines.baseline import NAMES, Baseline, baseline

__all__ = ["NAMES", "Baseline", "baseline"]
