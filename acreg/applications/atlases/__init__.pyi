from .label_fusion import fused_labels as fused_labels
from .label_fusion import label_shares as label_shares
from .meshes import segment_by_meshes as segment_by_meshes
from .multi_atlas import Atlases as Atlases
from .multi_atlas import AtlasSegmentation as AtlasSegmentation
from .multi_atlas import segment_by_atlases as segment_by_atlases
from .quality import PredictedQuality as PredictedQuality
from .quality import predict_quality as predict_quality
