"""GEUVADIS tables, written here in the form of the published file."""

import gzip

import numpy as np
import pytest

from dgex.formats.geuvadis import open_geuvadis

TEXT = """TargetID\tGene_Symbol\tChr\tCoord\tHG00096\tHG00097
ENSG00000152931.6\tENSG00000152931.6\t5\t59783540\t0.101857770668802\t0.0781095065822751
ENSG00000183696.9\tENSG00000183696.9\tX\t48123270\t8.1825673196322\t5.68691051653862
ENSG00000139269.2\tENSG00000139269.2\t12\t57846106\t1.19991028786765\t1573.57218798863
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "GD462.GeneQuantRPKM.50FN.samplename.resk10.txt"


def read(path):
    with open_geuvadis(path) as expression:
        return expression.load()


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_ids_metadata_and_values(path, pack):
    path.write_bytes(pack(TEXT.encode()))
    with open_geuvadis(path) as found:
        assert found.kind == "GEUVADIS table"
        assert found.row_id == ("ENSG00000152931.6", "ENSG00000183696.9", "ENSG00000139269.2")
        assert found.sample_id == ("HG00096", "HG00097")
        assert found.row_metadata["Gene_Symbol"].tolist() == list(found.row_id)
        assert found.row_metadata["Chr"].tolist() == ["5", "X", "12"]
        assert found.row_metadata["Coord"].tolist() == [59783540, 48123270, 57846106]
        expected = [
            [0.101857770668802, 8.1825673196322, 1.19991028786765],
            [0.0781095065822751, 5.68691051653862, 1573.57218798863],
        ]
        np.testing.assert_array_equal(found.load(), np.array(expected, np.float32), strict=True)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("Chr\tCoord", "Chr", "is not a GEUVADIS table"),
        (TEXT[TEXT.index("ENSG00000152931") :], "", "has 0 rows of 2 samples"),
        ("HG00097", "HG00096", "the sample HG00096 twice"),
        ("\t1573.57218798863", "", "line 4 has 5 fields where 6 belong"),
        ("5.68691051653862", "5.6.8", "line 3 holds '5.6.8'"),
    ],
)
def test_wrong_files_are_refused(path, refused, old, new, complaint):
    assert TEXT.count(old) == 1
    path.write_text(TEXT.replace(old, new))
    line = refused(lambda: read(path))
    assert str(path) in line and complaint in line
