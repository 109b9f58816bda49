"""The list of the NIH's ChestX-ray14, ``Data_Entry_2017.csv``: findings, patient and visit of each image."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from acreg.data.records import read_cells
from acreg.errors import AcregError
from acreg.names import some

NAME = "Data_Entry_2017.csv"
COLUMNS = ("Image Index", "Finding Labels", "Follow-up #", "Patient ID", "View Position")
HEALTHY = "No Finding"


@dataclass(frozen=True)
class Visit:
    """A line of the list.

    Attributes:
        image: name of the file, such as ``00000001_000.png``.
        findings: those of the report; `HEALTHY` alone if there is none.
        number: number of the visit, counted from 0.
        patient: number of the patient.
        view: ``"PA"`` or ``"AP"``.
    """

    image: str
    findings: tuple[str, ...]
    number: int
    patient: int
    view: str


def read_nih_list(path: Path) -> list[Visit]:
    """The lines of the list, by patient and visit.

    Raises:
        AcregError: the file lacks a column or has no lines, a number is not one, or an image is on two lines.
    """
    table = read_cells(path, "list of ChestX-ray14")
    header, *rows = table or [[]]
    missing = [column for column in COLUMNS if column not in header]
    if missing or not rows:
        raise AcregError(
            f"The list of ChestX-ray14 has the columns {', '.join(COLUMNS)}, and a line for each image. Received: "
            f"{path} without {', '.join(missing) or 'lines'}. Get {NAME} of the archive again."
        )
    visits = []
    for row in rows:
        cells = dict(zip(header, row + [""] * len(header), strict=False))
        image, findings, number, patient, view = (cells[column] for column in COLUMNS)
        if not (image and number.isdecimal() and patient.isdecimal()):
            raise AcregError(
                "A line of the list of ChestX-ray14 has an image, the number of the patient and that of the visit. "
                f"Received: {image or 'no image'}, patient {patient!r}, visit {number!r} in {path}. Correct the line."
            )
        visits.append(Visit(image, tuple(findings.split("|")), int(number), int(patient), view))
    twice = [name for name, count in Counter(visit.image for visit in visits).items() if count > 1]
    if twice:
        raise AcregError(
            f"An image is on one line of the list of ChestX-ray14. Received: {some(twice)} on several of {path}. "
            "Delete the surplus lines."
        )
    return sorted(visits, key=lambda visit: (visit.patient, visit.number, visit.image))
