"""Times of registrations: the CPU's, of each pair but the first, in this process and in those that it starts."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from studies.affine_deformable.times import cpu_seconds, method_of

BUSY = "import time\nend = time.process_time() + {}\nwhile time.process_time() < end: pass"


class Working:
    """Works longer for the first pair, as a network that is traced; sleeping does not count."""

    name = "working"

    def __init__(self) -> None:
        self.seconds = iter((0.3, 0.1, 0.1))

    def register(self, *, fixed: object, moving: object) -> None:
        subprocess.run([sys.executable, "-S", "-c", BUSY.format(next(self.seconds))], check=True)
        time.sleep(0.2)


def test_the_time_is_that_of_the_cpu_and_the_first_pair_is_left_out() -> None:
    found = cpu_seconds(Working(), [("fixed", "moving")] * 3)  # type: ignore[arg-type, list-item]
    assert len(found) == 2
    assert all(0.09 <= seconds < 0.25 for seconds in found)


@pytest.mark.parametrize("name", ["acreg:affine", "unregistered[align=extents]"])
def test_a_method_is_found_by_its_name(name: str) -> None:
    assert method_of(name, "none").name == name
