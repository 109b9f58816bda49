"""Networks: VoxelMorph's U-Net compared with a PyTorch version, and the training iteration with its input pipeline."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from itertools import count
from typing import Any

import numpy as np

from benchmarks import inputs
from benchmarks.measure import Benchmark, Contender

Run = Callable[[], Any]
ENCODER, DECODER, HEAD = (16, 32, 32, 32), (32, 32, 32, 32), (32, 16, 16)
SMOOTHNESS, RATE = 0.01, 1e-3
EPSILON = 1e-12
"""Epsilon of Adam; Keras and PyTorch add it in different places, so a larger value would make their steps differ."""
BEFORE = 2
"""Training steps before the one whose loss is compared, so that gradients and the optimiser are compared, too."""
CHESTS, BATCH, SIDE, CLASSES, DRAWN = 32, 32, 64, 4, 8


def weights(rank: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """(kernel, bias) of each convolution, in the order of the network, shapes as in Keras."""
    rng = np.random.default_rng(4)
    incoming = [2, *ENCODER]
    # after the coarsest level, the upsampled features are concatenated with the skipped ones
    for before, skipped in zip(DECODER, ENCODER[::-1]):
        incoming.append(before + skipped)
    incoming += HEAD
    outgoing = [*ENCODER, *DECODER, *HEAD, rank]
    made = []
    for n, m in zip(incoming, outgoing, strict=True):
        kernel = rng.normal(size=(*(3,) * rank, n, m)) * np.sqrt(2 / (3**rank * n))
        made.append((kernel.astype(np.float32), np.zeros(m, np.float32)))
    made[-1] = (0.1 * made[-1][0], made[-1][1])
    return made


def pair(shape: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Moving and fixed image."""
    both = inputs.images(shape, 2)
    return both[:1], both[1:]


def _model(rank: int) -> Any:
    import keras

    from acreg.models import DDMR

    losses = {"mean_squared_error": 1.0, "diffusion": SMOOTHNESS}
    model = DDMR(rank=rank, encoder=ENCODER, decoder=DECODER, head=HEAD, losses=losses)
    names = [f"encoder{n}" for n in range(1, len(ENCODER) + 1)] + [f"decoder{n}" for n in range(len(DECODER), 0, -1)]
    names += [f"head{n}" for n in range(1, len(HEAD) + 1)] + ["head_field"]
    for name, values in zip(names, weights(rank), strict=True):
        model.network.get_layer(name).set_weights(values)
    model.compile(optimizer=keras.optimizers.Adam(RATE, epsilon=EPSILON))
    return model


def forward(shape: Sequence[int]) -> Run:
    """The field of acreg's network, as a graph without XLA, which slows convolutions down on a CPU."""
    from benchmarks.keras_parts import compiled

    network = _model(len(shape)).network

    def field(moving: Any, fixed: Any) -> Any:
        return network({"moving": moving, "fixed": fixed}, training=False)["field"]

    return compiled(field, *pair(shape), xla=False)


def step(shape: Sequence[int], before: int = BEFORE) -> Run:
    """`train_on_batch` of acreg's model: network, warp, both losses, Adam, and the logged numbers."""
    model = _model(len(shape))
    moving, fixed = pair(shape)

    def run() -> Any:
        model.reset_metrics()
        return model.train_on_batch({"moving": moving, "fixed": fixed}, return_dict=True)["loss"]

    for _ in range(before):
        run()
    return run


def forward_torch(shape: Sequence[int]) -> Run:
    """The same network in PyTorch."""
    import torch

    from benchmarks import torch_parts

    network = torch_parts.UNet(len(shape), weights(len(shape)), len(ENCODER)).eval()
    images = [torch_parts.first(x) for x in pair(shape)]
    return torch.inference_mode()(lambda: torch_parts.last(network(*images)))


def step_torch(shape: Sequence[int]) -> Run:
    """The same step in PyTorch, with grid_sample as the warp."""
    import torch

    from benchmarks import torch_parts

    network = torch_parts.UNet(len(shape), weights(len(shape)), len(ENCODER)).train()
    optimiser = torch.optim.Adam(network.parameters(), RATE, eps=EPSILON)
    moving, fixed = (torch_parts.first(x) for x in pair(shape))
    grid = torch_parts.identity(shape)

    def run() -> Any:
        field = network(moving, fixed)
        error = ((torch_parts.warp(moving, field, grid) - fixed) ** 2).mean()
        loss = error + SMOOTHNESS * torch_parts.diffusion(field)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return loss.detach()

    for _ in range(BEFORE):
        run()
    return run


def _batches(augmented: bool, steps: int | None = None) -> Iterator[Any]:
    """Pairs of phantoms as `acreg train` draws them, in the pipeline of Keras' backend.

    The paper uses no augmentation; `augmented` selects that of the shipped recipes.
    """
    import keras

    from acreg.data.sampling.augmentation import Augmentation
    from acreg.data.sampling.pairs import PairSampler
    from acreg.data.sampling.pipeline import tf_pairs

    images, labels = _chests()
    changes = Augmentation(gamma=0.4, contrast=0.25, bias_field=0.15, noise=0.03, rotation=0.1, scale=0.1, shift=0.06)
    sampler = PairSampler(images, labels, BATCH, seed=0, augment=changes if augmented else None)
    if keras.backend.backend() == "tensorflow":
        return iter(tf_pairs(sampler, steps=steps))
    return (sampler.batch(n) for n in (count() if steps is None else range(steps)))


@lru_cache(maxsize=1)
def _chests() -> tuple[np.ndarray, np.ndarray]:
    from acreg.data.phantoms.chests import chest_phantom

    chests = [chest_phantom(n, (SIDE, SIDE)) for n in range(CHESTS)]
    return np.array([c.image / 255 for c in chests])[..., None], np.array([c.labels for c in chests])[..., None]


def iteration(anatomy: bool) -> Run:
    """A step of training on the next batch: RegNet, or AC-RegNet with its autoencoder, both as in the paper."""
    model, batches = _trained(anatomy), _batches(augmented=False)
    return lambda: model.train_on_batch(next(batches), return_dict=True)["loss"]


def _trained(anatomy: bool) -> Any:
    import keras

    from acreg.models import ACRegNet, LabelAutoencoder, RegNet

    model: Any = RegNet()
    if anatomy:
        model = ACRegNet(num_classes=CLASSES, autoencoder=LabelAutoencoder((SIDE, SIDE), CLASSES))
    model.compile(optimizer=keras.optimizers.Adam(RATE))
    return model


def draw() -> Run:
    """Draw some batches from a new input pipeline, so that nothing is prefetched before the timing starts."""
    _chests()
    return lambda: [batch["fixed"] for batch in _batches(augmented=True, steps=DRAWN)]


def steps_alone() -> Run:
    """The same number of training steps, on a batch that exists already."""
    model, batch = _trained(anatomy=False), next(_batches(augmented=True))
    return lambda: [model.train_on_batch(batch, return_dict=True)["loss"] for _ in range(DRAWN)]


def benchmarks(quick: bool) -> list[Benchmark]:
    """The U-Net in 2-D and 3-D; the training iterations; the input pipeline compared with them."""
    made = []
    for shape in ((64, 64), (16,) * 3) if quick else ((256, 256), (64,) * 3):
        size = f"{shape[0]}^{len(shape)}"
        contenders = {
            "acreg": Contender(partial(forward, shape)),
            "PyTorch": Contender(partial(forward_torch, shape), ("torch",)),
        }
        title = f"VoxelMorph's U-Net, forward, {size}"
        made.append(Benchmark(__name__, f"unet-{len(shape)}d", title, contenders, 1e-3))
        contenders = {
            "acreg": Contender(partial(step, shape)),
            "PyTorch": Contender(partial(step_torch, shape), ("torch",)),
        }
        title = f"VoxelMorph's U-Net, training step, {size}"
        note = f"The losses of step {BEFORE + 1} are compared. acreg's step also measures folding."
        made.append(Benchmark(__name__, f"unet-{len(shape)}d-step", title, contenders, 1e-3, note=note))
    made.append(
        Benchmark(
            __name__,
            "training",
            f"Training iteration, {SIDE}^2, batch of {BATCH}",
            {
                "acreg RegNet": Contender(partial(iteration, False)),
                "acreg AC-RegNet": Contender(partial(iteration, True)),
            },
            note="The paper's networks, including the input pipeline. For comparison, in a separate measurement on "
            "two cores, the authors' AC-RegNet took 3.7 CPU seconds per iteration on TensorFlow 1.5, and its code took "
            "1.1 CPU seconds on TensorFlow 2.15.",
        )
    )
    contenders = {"acreg input pipeline": Contender(draw), "training steps": Contender(steps_alone)}
    title = f"Input pipeline against RegNet's training: {DRAWN} batches of {BATCH} pairs of {SIDE}^2"
    note = "Pairs are augmented as in the shipped recipes. Each uses all threads here; in training they share them."
    made.append(Benchmark(__name__, "pipeline", title, contenders, faster=3.0, note=note))
    return made
