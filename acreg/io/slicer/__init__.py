"""Files of 3D Slicer: segmentations (`.seg.nrrd`) and scenes (`.mrb`).

Sources: the documentation of Slicer on MRML and on segmentations, and the reading and writing code of its library MRML
(version 5). A scene has the axes of RAS; the files in it have those of LPS, which Slicer converts.
"""
