"""Surfaces matched as currents, by a flow of diffeomorphisms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import keras
import numpy as np
from keras import ops

from acreg.layers.tensor import Tensor
from acreg.shapes.frame import Frame
from acreg.shapes.surfaces import Surface, thinned

PADDING = 256
"""The cells of a subject are filled up to a multiple of this, by cells without area, so that few sizes are compiled."""


class Currents:
    """The template's surfaces are carried by a geodesic flow until, as currents, they are near the subject's.

    A current is what a surface does to vector fields: two surfaces are near where places and normals agree, without
    any correspondence of points. The flow is that of momenta on some of the template's points.

    Args:
        flow_width: width of the Gaussian of the flow's velocities, in units of the template's spread (the root mean
            square distance of its points from their middle).
        widths: of the Gaussian that compares currents, likewise; one after the other, coarse to fine.
        stiffness: weight of the flow's energy.
        iterations: steps of Adam for each of `widths`.
        learning_rate: of Adam.
        time_steps: of the flow.

    Sources: Vaillant and Glaunes, Surface matching via currents, IPMI 2005; Durrleman et al., Morphometry of anatomical
    shape complexes with dense deformations and sparse parameters, NeuroImage 101 (2014), eqs. 3 to 6.
    """

    def __init__(
        self,
        flow_width: float = 0.5,
        widths: Sequence[float] = (0.5, 0.2),
        stiffness: float = 0.1,
        iterations: int = 80,
        learning_rate: float = 0.02,
        time_steps: int = 8,
    ) -> None:
        self.flow_width = flow_width
        self.widths = tuple(widths)
        self.stiffness = stiffness
        self.iterations = iterations
        self.learning_rate = learning_rate
        self.time_steps = time_steps
        self._flows: dict[bytes, _Flow] = {}

    def match(self, template: Sequence[Surface], subject: Sequence[Surface]) -> list[np.ndarray]:
        """See `Matcher.match`."""
        points = np.concatenate([surface.points for surface in template])
        frame = Frame(points, np.concatenate([surface.points for surface in subject]))
        flow = self._flow([surface.moved(frame.of_template(surface.points)) for surface in template])
        goal = _cells([surface.moved(frame.of_subject(surface.points)) for surface in subject])
        flow.begin()
        for width in self.widths:
            flow.width.assign(width)
            for _ in range(self.iterations):
                flow.train_on_batch(goal)
        moved = ops.convert_to_numpy(flow(goal)["points"])[0].astype(float)
        return np.split(frame.to_subject(moved), np.cumsum([len(surface.points) for surface in template])[:-1])

    def _flow(self, template: Sequence[Surface]) -> _Flow:
        """The flow of a template: kept for the next subject, because compiling it takes seconds."""
        key = b"".join(surface.points.tobytes() + surface.cells.tobytes() for surface in template)
        if key not in self._flows:
            self._flows = {key: _Flow(template, self)}
        return self._flows[key]


class _Flow(keras.Model):
    """A template's points carried by momenta, its weights; `x` is a subject's cells as `_cells` makes them."""

    def __init__(self, template: Sequence[Surface], settings: Currents) -> None:
        super().__init__(name="flow", dtype="float32", autocast=False)
        points = np.concatenate([surface.points for surface in template])
        self.settings = settings
        self.cells = []
        first = 0
        for surface in template:
            self.cells.append(ops.convert_to_tensor(surface.cells + first))
            first += len(surface.points)
        controls = points[thinned(points, settings.flow_width / 2)]
        self.start = ops.convert_to_tensor(points, "float32")
        self.controls = ops.convert_to_tensor(controls, "float32")
        self.width = self.add_weight(shape=(), name="width", trainable=False)
        self.momenta = self.add_weight(shape=controls.shape, initializer="zeros", name="momenta")
        self.compile(optimizer=keras.optimizers.Adam(settings.learning_rate))
        self.optimizer.build(self.trainable_variables)
        self._fresh = [ops.convert_to_numpy(variable) for variable in self.optimizer.variables]

    def begin(self) -> None:
        """Forget the subject before."""
        self.momenta.assign(np.zeros(self.momenta.shape))
        for variable, value in zip(self.optimizer.variables, self._fresh, strict=True):
            variable.assign(value)

    def call(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        points, controls, momenta = self.start, self.controls, ops.convert_to_tensor(self.momenta)
        energy = ops.sum(momenta * ops.matmul(_gaussian(controls, controls, self.settings.flow_width), momenta))
        step = 1.0 / self.settings.time_steps
        for _ in range(self.settings.time_steps):  # Heun's rule
            first = self._derivatives(points, controls, momenta)
            guess = [x + step * d for x, d in zip((points, controls, momenta), first, strict=True)]
            second = self._derivatives(*guess)
            points, controls, momenta = (
                x + 0.5 * step * (a + b) for x, a, b in zip((points, controls, momenta), first, second, strict=True)
            )
        return {"points": points[None], "energy": energy[None]}

    def _derivatives(self, points: Tensor, controls: Tensor, momenta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of points, control points and momenta in time: Hamilton's equations of a geodesic."""
        width = self.settings.flow_width
        near = _gaussian(controls, controls, width)
        force = near * ops.matmul(momenta, ops.transpose(momenta)) * (2.0 / width**2)
        turned = ops.sum(force, axis=1, keepdims=True) * controls - ops.matmul(force, controls)
        return ops.matmul(_gaussian(points, controls, width), momenta), ops.matmul(near, momenta), turned

    def compute_loss(
        self,
        x: Tensor = None,
        y: Tensor = None,
        y_pred: Tensor = None,
        sample_weight: Tensor = None,
        training: bool = True,
    ) -> Tensor:
        total = self.settings.stiffness * y_pred["energy"][0]
        for region, cells in enumerate(self.cells):
            corners = ops.take(y_pred["points"][0], cells, axis=0)
            mine = ops.mean(corners, axis=1), _normals(corners)
            theirs = x[f"centres{region}"][0], x[f"normals{region}"][0]
            own = self._product(theirs, theirs)
            apart = self._product(mine, mine) - 2.0 * self._product(mine, theirs) + own
            total = total + apart / own
        return total

    def _product(self, first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> Tensor:
        """The scalar product of two currents, each (centres, normals)."""
        return ops.sum(first[1] * ops.matmul(_gaussian(first[0], second[0], self.width), second[1]))


def _gaussian(first: Tensor, second: Tensor, width: Tensor) -> Tensor:
    """`exp(-|a - b|^2 / width^2)` of all pairs of points."""
    squared = (
        ops.sum(first**2, axis=1)[:, None] + ops.sum(second**2, axis=1) - 2.0 * ops.matmul(first, ops.transpose(second))
    )
    return ops.exp(-ops.maximum(squared, 0.0) / width**2)


def _normals(corners: Tensor) -> Tensor:
    """As `Surface.normals`, of corners `(m, rank, rank)`."""
    along = corners[:, 1] - corners[:, 0]
    if corners.shape[-1] == 2:
        return ops.stack([along[:, 1], -along[:, 0]], axis=1)
    return 0.5 * ops.cross(along, corners[:, 2] - corners[:, 0])


def _cells(surfaces: Sequence[Surface]) -> dict[str, np.ndarray]:
    """Centres and normals of each surface, `(1, cells, rank)` float32, filled up with cells without area."""
    result = {}
    for region, surface in enumerate(surfaces):
        spare = -len(surface.cells) % PADDING
        for name, values in (("centres", surface.centres), ("normals", surface.normals)):
            result[f"{name}{region}"] = np.pad(values, ((0, spare), (0, 0))).astype(np.float32)[None]
    return result
