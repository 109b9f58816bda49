"""Runs ConvexAdam on arrays of one shape; started by `benchmarks.convex_adam` in another environment, without acreg.

Each line of standard input is a JSON list of three files: the fixed and the moving image, and the field to be written,
a displacement in voxels. Each is answered by a line of JSON with the CPU seconds of the registration.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import torch
from convexAdam.convex_adam_MIND import convex_adam_pt  # type: ignore[import-not-found]


def main() -> None:
    """Register with one thread and the defaults of the package until the input ends."""
    torch.set_num_threads(1)
    for line in sys.stdin:
        fixed, moving, field = json.loads(line)
        torch.manual_seed(0)
        images = [torch.from_numpy(np.load(path)) for path in (fixed, moving)]
        start = time.process_time()
        answer: dict[str, object] = {}
        try:
            np.save(field, convex_adam_pt(*images).astype(np.float32))
        except Exception as error:  # of any kind: the asking process reports it
            answer["failed"] = f"{type(error).__name__}: {error}"
        print(json.dumps(answer | {"cpu_seconds": time.process_time() - start}), flush=True)


if __name__ == "__main__":
    main()
