"""The gene tables: D-GEX's own, and every way one can be wrong."""

import os

import numpy as np
import pytest

from dgex.data.genes import Genes, overlap, read_gene_table, read_gene_tables, write_gene_table

THREE = Genes(ensembl=("E1", "E2", "E3"), symbol=("A", "B", "A"), probes=("1_at", "2_at,3_at", "4_at"))


def test_table_is_read_by_column(tmp_path):
    path = tmp_path / "map.txt"
    path.write_text("A\tE1\t1_at\nB\tE2\t2_at,3_at\nA\tE3\t4_at\n")
    assert read_gene_table(path) == THREE
    assert len(read_gene_table(path)) == 3


def test_written_table_reads_back(tmp_path):
    write_gene_table(tmp_path / "map.txt", THREE)
    assert read_gene_table(tmp_path / "map.txt") == THREE


def test_take_follows_the_index():
    assert THREE.take(np.array([2, 0])) == Genes(("E3", "E1"), ("A", "A"), ("4_at", "1_at"))


def test_overlap_is_by_ensembl_id_not_by_symbol():
    target = Genes(ensembl=("E9", "E3"), symbol=("B", "Z"), probes=("5_at", "6_at"))
    assert overlap(THREE, target).tolist() == [False, True]


def test_tables_of_d_gex(shared):
    landmark, target = read_gene_tables(shared / "data" / "genes")
    assert (len(landmark), len(target)) == (943, 9520)
    assert overlap(landmark, target).sum() == 445
    assert len(set(target.symbol)) == 9519  # IL9R twice


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"A\tE1\t1_at\nB\tE2\n", "line 2"),
        (b"A\tE1\t1_at\nB\tE2\t\n", "line 2"),
        (b"A\tE1\t1_at\n\nB\tE2\t2_at\n", "line 2"),
        (b"A\tE1\t1_at\nB\tE2\t2_at\nC\tE1\t3_at\n", "line 3: Ensembl id E1 is listed twice"),
        (b"", "empty"),
        (b"\xff\xfe\x00", "not UTF-8"),
        (None, "No such file"),
    ],
)
def test_bad_tables_are_refused(tmp_path, refused, content, complaint):
    path = tmp_path / "map_lm.txt"
    if content is not None:
        path.write_bytes(content)
    line = refused(lambda: read_gene_table(path))
    assert str(path) in line and complaint in line


def test_a_table_of_gigabytes_is_not_read(tmp_path, refused):
    path = tmp_path / "map.txt"
    path.touch()
    os.truncate(path, 2**36)  # a hole, which takes no room
    assert f"{path}: cannot be read as a gene table (larger than 16 MiB)" in refused(lambda: read_gene_table(path))


def test_a_byte_order_mark_is_no_part_of_a_symbol(tmp_path):
    (tmp_path / "map.txt").write_text("A\tENSG1\t1_at\n", "utf-8-sig")
    assert read_gene_table(tmp_path / "map.txt").symbol == ("A",)
