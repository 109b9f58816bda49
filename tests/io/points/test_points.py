import csv
import dataclasses
import json
import os

import numpy as np
import pytest

from acreg.errors import AcregError, UsageError
from acreg.io.points import Points, read_points, write_points

FCSV = """# Markups fiducial file version = 4.11
# CoordinateSystem = {system}
# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID
vtkMRMLMarkupsFiducialNode_1,10.5,-20.25,30.0,0,0,0,1,1,1,0,"apex, left",first,vtkMRMLScalarVolumeNode1
vtkMRMLMarkupsFiducialNode_2,1,2,3,0,0,0,1,0,1,1,carina,,
"""


def markups(system="RAS", **changes):
    point = {"id": "7", "label": "apex", "position": [10.5, -20.25, 30.0], "orientation": [1.0, 0.0], "locked": True}
    other = {"id": "8", "label": "carina", "description": "müde", "position": [1.0, 2.0, 3.0]} | changes
    display = {"color": [0.4, 1.0, 0.0], "glyphType": "Sphere3D"}
    markup = {"type": "Fiducial", "coordinateSystem": system, "controlPoints": [point, other], "display": display}
    return {"@schema": "https://example.org/markups-schema-v1.0.3.json#", "markups": [markup]}


def save(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def moved(points, by):
    return dataclasses.replace(points, positions=points.positions + by)


def test_csv_is_lps_in_mm_and_comes_back_with_its_other_columns(tmp_path):
    path = save(tmp_path / "a.csv", 'Label,X,y,Z,comment\n"a, b",10.5,-20.25,30,seen\nc,1e1,2,-3,\n')
    points = read_points(path)
    assert points.positions.tolist() == [[30.0, -20.25, 10.5], [-3.0, 2.0, 10.0]] and points.names == ("a, b", "c")
    write_points(moved(points, (100, 10, 1)), tmp_path / "b.csv")
    with (tmp_path / "b.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["Label", "X", "y", "Z", "comment"],
            ["a, b", "11.5", "-10.25", "130.0", "seen"],
            ["c", "11.0", "12.0", "97.0", ""],
        ]


def test_two_columns_and_z_0_are_points_of_a_2d_image(tmp_path):
    two = read_points(save(tmp_path / "two.csv", "x,y\n1,2\n3,4\n"), rank=2)
    flat = read_points(save(tmp_path / "flat.csv", "x,y,z,t\n1,2,0,0\n3,4,0,0\n"), rank=2)
    assert two.positions.tolist() == flat.positions.tolist() == [[2, 1], [4, 3]]
    write_points(moved(flat, (0.5, 0.25)), tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text(encoding="utf-8") == "x,y,z,t\n1.25,2.5,0,0\n3.25,4.5,0,0\n"
    with pytest.raises(AcregError, match="Points of a 3-D image have 3 coordinates"):
        read_points(tmp_path / "two.csv", rank=3)
    with pytest.raises(AcregError, match="two coordinates, or z = 0. Received: .* with z = 7"):
        read_points(save(tmp_path / "deep.csv", "x,y,z\n1,2,0\n1,2,7\n"), rank=2)


@pytest.mark.parametrize(("system", "sign"), [("LPS", 1), ("1", 1), ("RAS", -1), ("0", -1)])
def test_fcsv_in_either_system(system, sign, tmp_path):
    points = read_points(save(tmp_path / "a.fcsv", FCSV.format(system=system)))
    # (z, y, x) of LPS: left and posterior are right and anterior with the other sign, superior is superior.
    assert points.positions.tolist() == [[30.0, sign * -20.25, sign * 10.5], [3.0, sign * 2.0, sign * 1.0]]
    assert points.names == ("apex, left", "carina")
    write_points(moved(points, (5, 0, 1)), tmp_path / "b.fcsv")
    expected = FCSV.format(system=system).replace(",10.5,-20.25,30.0,", f",{10.5 + sign},-20.25,35.0,")
    assert (tmp_path / "b.fcsv").read_text(encoding="utf-8") == expected.replace(",1,2,3,", f",{1.0 + sign},2.0,8.0,")


@pytest.mark.parametrize(("system", "sign"), [("LPS", 1), ("RAS", -1)])
def test_markups_in_either_system(system, sign, tmp_path):
    points = read_points(save(tmp_path / "a.mrk.json", markups(system)))
    assert points.positions.tolist() == [[30.0, sign * -20.25, sign * 10.5], [3.0, sign * 2.0, sign * 1.0]]
    write_points(moved(points, (5, 0, 1)), tmp_path / "b.mrk.json")
    expected = markups(system, position=[1.0 + sign, 2.0, 8.0])
    expected["markups"][0]["controlPoints"][0]["position"] = [10.5 + sign, -20.25, 35.0]
    assert json.loads((tmp_path / "b.mrk.json").read_text(encoding="utf-8")) == expected


def test_markups_with_several_lists_keep_each_ones_system(tmp_path):
    content = markups("RAS")
    content["markups"] += markups("LPS")["markups"]
    points = read_points(save(tmp_path / "a.mrk.json", content))
    assert points.positions[:, 2].tolist() == [-10.5, -1.0, 10.5, 1.0]
    write_points(points, tmp_path / "b.mrk.json")
    assert json.loads((tmp_path / "b.mrk.json").read_text(encoding="utf-8")) == content


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("suffix", [".csv", ".fcsv", ".mrk.json"])
def test_points_are_written_as_another_format(suffix, rank, tmp_path):
    positions = np.random.default_rng(0).normal(scale=1e3, size=(4, rank))
    write_points(Points(positions, ("a", "", "b c", "d,e")), tmp_path / f"new{suffix}")
    again = read_points(tmp_path / f"new{suffix}", rank=rank)
    np.testing.assert_allclose(again.positions, positions, rtol=0, atol=1e-9)
    assert again.names == ("a", "2", "b c", "d,e")
    from_slicer = read_points(save(tmp_path / "a.fcsv", FCSV.format(system="RAS")))
    write_points(from_slicer, tmp_path / f"other{suffix}")
    assert read_points(tmp_path / f"other{suffix}").positions.tolist() == from_slicer.positions.tolist()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", "", "which is empty"),
        ("a.csv", "\n\n", "lacks x and y"),
        ("a.csv", "x,y,z\n", "a header alone"),
        ("a.csv", "1,2,3\n4,5,6\n", "lacks x and y. Add a header such as x,y,z,label"),
        ("a.csv", "x;y;z\n1;2;3\n", "commas, not semicolons"),
        ("a.csv", "x,z\n1,2\n", "lacks y"),
        ("a.csv", "x,y,z\n1,2,3\n1,2\n", r"line 3: 1,2\. Complete"),
        ("a.csv", "x,y,z\n1,2,3\n1,two,3\n", "point 2, y = 'two'"),
        ("a.csv", "x,y,z\n1,2,nan\n", "finite numbers. Received: .*, point 1, z = 'nan'"),
        ("a.csv", "x,y,z\n1,,3\n", "y = ''"),
        ("a.fcsv", FCSV.format(system="IJK"), "LPS or RAS .* with IJK"),
        ("a.fcsv", FCSV.replace("# CoordinateSystem = {system}\n", ""), "LPS or RAS .* with none"),
        ("a.mrk.json", "{", "must be a whole .mrk.json"),
        ("a.mrk.json", [], "has a list `markups`"),
        ("a.mrk.json", {"markups": []}, "without control points"),
        ("a.mrk.json", markups("XYZ"), "LPS or RAS .* with XYZ"),
        ("a.mrk.json", markups(position=[1.0, None, 2.0]), "point 2, y = None"),
        ("a.mrk.json", markups(positionStatus="undefined"), "'carina', which was not placed"),
        ("a.mrk.json", {"markups": [{"type": "Plane"}]}, "with a Plane"),
        ("a.csv", "x,y,z\n1,1_0,3\n", "y = '1_0'"),
        ("a.csv", "x,y,x\n1,2,3\n", "with x twice"),
        ("a.csv", "x,y,z\n1,2,3\0\n", "bytes of 0"),
        ("a.csv", "x,y,z\n1,2," + "3" * 200_000, "must be a whole .csv"),
        ("a.csv", "x,y,z\n" * 1_000_001, "at most 1000000 lines"),
        ("a.mrk.json", "[" * 200_000, "must be a whole .mrk.json"),
        ("a.mrk.json", markups(position=[True, 1.0, 2.0]), "x = True"),
        ("a.mrk.json", markups(position=[10**400, 1.0, 2.0]), "x = 1000"),
        ("a.mrk.json", {"markups": [{"controlPoints": 5, "coordinateSystem": "LPS"}]}, "are a list"),
        ("a.mrk.json", {"markups": [{"controlPoints": [5], "coordinateSystem": "LPS"}]}, "are a list"),
        ("a.mrk.json", {"markups": [{"type": ["Line"]}]}, r"with a \['Line'\]"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(name, content, said, tmp_path):
    with pytest.raises(AcregError, match=said) as raised:
        read_points(save(tmp_path / name, content))
    assert str(tmp_path / name) in str(raised.value)


def test_a_pipe_a_device_and_a_huge_file_are_refused_unread(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "zero.csv").symlink_to("/dev/zero")
    with (tmp_path / "long.csv").open("wb") as file:
        file.truncate(2**40)
    for name, said in {"pipe": "a pipe, device or socket", "zero": "a pipe", "long": "at most 64 MiB"}.items():
        with pytest.raises(AcregError, match=said):
            read_points(tmp_path / f"{name}.csv")


def test_other_formats_and_shapes_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"kept in \.csv, \.fcsv, \.mrk\.json"):
        read_points(save(tmp_path / "a.txt", "x,y\n1,2\n"))
    with pytest.raises(UsageError, match="Choose one of these suffixes"):
        write_points(Points(np.zeros((1, 2))), tmp_path / "a.json")
    with pytest.raises(AcregError, match="The file must exist"):
        read_points(tmp_path / "absent.csv")
    with pytest.raises(AcregError, match="with n names or none"):
        Points(np.zeros((2, 3)), ("a",))
    with pytest.raises(AcregError, match="finite"):
        Points(np.full((1, 3), np.nan))
    points = read_points(save(tmp_path / "a.csv", "x,y\n1,2\n3,4\n"))
    with pytest.raises(AcregError, match=r"\(1, 2\) for \(2, 2\)"):
        write_points(Points(points.positions[:1], source=points.source), tmp_path / "b.csv")
    assert not (tmp_path / "b.csv").exists()
