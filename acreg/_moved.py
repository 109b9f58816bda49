"""Old names, which work until version 0.3 with a warning.

`import acreg` installs a finder for the modules of `MOVED`; a package that has the name of an old module forwards the
old module's names by `forward`.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, spec_from_loader
from types import CodeType, ModuleType

MOVED = {
    "acreg.applications.concerns": "acreg.registration.concerns",
    "acreg.applications.convert_acregnet": "acreg.applications.conversion.acregnet",
    "acreg.applications.convert_voxelmorph": "acreg.applications.conversion.voxelmorph",
    "acreg.applications.evaluation": "acreg.evaluation.run",
    "acreg.applications.inspection_images": "acreg.applications.inspection.images",
    "acreg.applications.inspection_transforms": "acreg.applications.inspection.transforms",
    "acreg.applications.label_fusion": "acreg.applications.atlases.label_fusion",
    "acreg.applications.mesh_segmentation": "acreg.applications.atlases.meshes",
    "acreg.applications.multi_atlas": "acreg.applications.atlases.multi_atlas",
    "acreg.applications.ray_engine": "acreg.applications.batch.ray_engine",
    "acreg.applications.registration": "acreg.registration.pair",
    "acreg.applications.scoring": "acreg.evaluation.scoring",
    "acreg.applications.segmentation_quality": "acreg.applications.atlases.quality",
    "acreg.applications.shape_classification": "acreg.evaluation.classification",
    "acreg.applications.subjects": "acreg.data.subjects",
    "acreg.applications.tf1_checkpoint": "acreg.applications.conversion.tf1_checkpoint",
    "acreg.applications.volume": "acreg.applications.batch.run",
    "acreg.applications.volume_items": "acreg.applications.batch.items",
    "acreg.applications.volume_tasks": "acreg.applications.batch.tasks",
    "acreg.applications.warping": "acreg.registration.warping",
    "acreg.data.aligned_copies": "acreg.data.prepare.aligned_copies",
    "acreg.data.alignment": "acreg.data.prepare.alignment",
    "acreg.data.augmentation": "acreg.data.sampling.augmentation",
    "acreg.data.check_orientation": "acreg.data.check.orientation",
    "acreg.data.check_volumes": "acreg.data.check.summaries",
    "acreg.data.deformed_pairs": "acreg.data.sampling.deformed_pairs",
    "acreg.data.disease_flags": "acreg.data.tables.disease_flags",
    "acreg.data.findings": "acreg.data.check.findings",
    "acreg.data.heart_phantoms": "acreg.data.phantoms.hearts",
    "acreg.data.label_table": "acreg.data.tables.label_table",
    "acreg.data.mni152": "acreg.data.datasets.mni152",
    "acreg.data.pair_files": "acreg.data.tables.pair_files",
    "acreg.data.pairs": "acreg.data.sampling.pairs",
    "acreg.data.phantom_common": "acreg.data.phantoms.common",
    "acreg.data.pipeline": "acreg.data.sampling.pipeline",
    "acreg.data.prepare_volumes": "acreg.data.prepare.copies",
    "acreg.data.region_table": "acreg.data.tables.region_table",
    "acreg.data.rigid_alignment": "acreg.data.prepare.rigid_alignment",
    "acreg.data.synthesis": "acreg.data.sampling.synthesis",
    "acreg.data.velocities": "acreg.data.sampling.velocities",
    "acreg.data.volume_steps": "acreg.data.prepare.steps",
    "acreg.experiments.acregnet.plausibility": "acreg.applications.plausibility.study",
    "acreg.experiments.acregnet.plausibility_results": "acreg.applications.plausibility.results",
    "acreg.experiments.affine_deformable.stripped": "studies.affine_deformable.stripped",
    "acreg.experiments.affine_deformable.turned": "studies.affine_deformable.turned",
    "acreg.experiments.build": "acreg.training.build",
    "acreg.experiments.callbacks": "acreg.training.callbacks",
    "acreg.experiments.checkpoint": "acreg.training.checkpoint",
    "acreg.experiments.curves": "acreg.training.curves",
    "acreg.experiments.ddmr.transfer.study": "studies.ddmr.transfer",
    "acreg.experiments.devices": "acreg.training.devices",
    "acreg.experiments.jrsnet.segmenter": "studies.jrsnet.segmenter",
    "acreg.experiments.pictures": "acreg.training.pictures",
    "acreg.experiments.recipe": "acreg.training.recipe",
    "acreg.experiments.run_folder": "acreg.training.run_folder",
    "acreg.experiments.schema": "acreg.training.schema",
    "acreg.experiments.svfnet.tune_baselines": "studies.svfnet.tune_baselines",
    "acreg.experiments.train": "acreg.training.run",
    "acreg.experiments.training_data": "acreg.training.data",
    "acreg.experiments.usual": "acreg.evaluation.usual",
    "acreg.io.decoder": "acreg.io.guards.decoder",
    "acreg.io.dicom_frames": "acreg.io.dicom.frames",
    "acreg.io.dicom_groups": "acreg.io.dicom.groups",
    "acreg.io.dicom_header": "acreg.io.dicom.header",
    "acreg.io.dicom_pixels": "acreg.io.dicom.pixels",
    "acreg.io.dicom_segments": "acreg.io.dicom.segments",
    "acreg.io.files": "acreg.io.guards",
    "acreg.io.isolation": "acreg.io.guards.isolation",
    "acreg.io.itk": "acreg.io.transforms.itk",
    "acreg.io.metaimage": "acreg.io.volumes.metaimage",
    "acreg.io.nrrd": "acreg.io.volumes.nrrd",
    "acreg.io.picture_headers": "acreg.io.pictures.headers",
    "acreg.io.point_files": "acreg.io.points.formats",
    "acreg.io.transform_check": "acreg.io.transforms.check",
    "acreg.io.transform_files": "acreg.io.transforms.parts",
    "acreg.io.try_hdf5": "acreg.io.guards.try_hdf5",
    "acreg.io.voxel_files": "acreg.io.volumes.voxels",
    "acreg.report.completeness": "acreg.evaluation.completeness",
    "acreg.report.drawing": "acreg.plotting.drawing",
    "acreg.report.page": "acreg.plotting.page",
    "acreg.report.preview": "acreg.plotting.preview",
    "acreg.report.ranking": "acreg.evaluation.ranking",
    "acreg.report.regions": "acreg.evaluation.regions",
    "acreg.report.results": "acreg.evaluation.results",
    "acreg.report.statistics": "acreg.evaluation.statistics",
    "acreg.report.tables": "acreg.evaluation.tables",
}
"""Old and new name of each module. The modules of `studies` are in the source tree only."""


def forward(package: str, home: str, renamed: Mapping[str, str] | None = None) -> Callable[[str], object]:
    """A `__getattr__` for a package with the name of an old module, which still finds the old module's names.

    Args:
        package: name of the package.
        home: the module where the names are now.
        renamed: new names, with their modules, of names that are elsewhere or were renamed.
    """

    def find(name: str) -> object:
        if not name.startswith("__"):
            new = (renamed or {}).get(name, f"{home}.{name}")
            module, _, attribute = new.rpartition(".")
            value = getattr(importlib.import_module(module), attribute, None)
            if value is not None:
                warn_of_old_name(f"{package}.{name}", new, stacklevel=3)
                return value
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return find


def install() -> None:
    """Make the old names of modules importable."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())


def warn_of_old_name(old: str, new: str, stacklevel: int = 2) -> None:
    """Warn that a name is old; with `stacklevel` 2, the warning points to the caller's caller."""
    warnings.warn(f"{old} is now {new}; the old name goes in version 0.3.", DeprecationWarning, stacklevel + 1)


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        new = MOVED.get(fullname)
        if new is None:
            return None
        warn_of_old_name(fullname, new, stacklevel=2)
        return spec_from_loader(fullname, _NewName(new))


class _NewName(Loader):
    """Loader that provides the module of the new name under the old one."""

    def __init__(self, new: str) -> None:
        self._new = new

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        sys.modules[module.__name__] = importlib.import_module(self._new)

    def get_code(self, fullname: str) -> CodeType | None:  # for `python -m`
        spec = find_spec(self._new)
        return None if spec is None or spec.loader is None else spec.loader.get_code(self._new)  # type: ignore[attr-defined]
