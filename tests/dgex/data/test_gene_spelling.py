"""Which names a text stands for: the forms of public portals, and look-alikes."""

import pytest

from dgex.data.gene_spelling import names_in

ENSEMBL = {"ENSG00000000003", "ENSG00000002586", "ENSG00000002586_PAR_Y", "ENSGR0000002586", "AT1G01010"}
KNOWN = ENSEMBL | {"7105", "2", "TSPAN6", "TP53", "TP63", "HLA-A", "7SK", "3-Mar", "9-Sep", "201746_at"}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("ENSG00000000003.15", ["ENSG00000000003"]),
        ("ENSG00000000003.10_2", ["ENSG00000000003"]),  # GENCODE, lifted to GRCh37
        ("ENSG00000000003_2", ["ENSG00000000003"]),  # where 2 is no Entrez id
        ("AT1G01010.1", ["AT1G01010"]),
        ("ENSG00000002586.20_PAR_Y", ["ENSG00000002586_PAR_Y"]),
        ("ENSG00000002586.14_3_PAR_Y", ["ENSG00000002586_PAR_Y"]),
        ("ENSGR0000002586.13", ["ENSGR0000002586"]),
        ("7105.0", ["7105"]),
        ("TSPAN6 (7105)", ["TSPAN6", "7105"]),
        ("TSPAN6(7105)", ["TSPAN6", "7105"]),
        ("TSPAN6 (ENSG00000000003)", ["TSPAN6", "ENSG00000000003"]),
        ("TSPAN6|7105", ["TSPAN6", "7105"]),
        ("7105.0|TSPAN6", ["7105", "TSPAN6"]),
        ("?|7105", ["7105"]),
        ("HLA-A|1", ["HLA-A"]),
        ("ENSG00000000003.15|TSPAN6", ["ENSG00000000003", "TSPAN6"]),
        ("ENSG00000000003_TSPAN6", ["ENSG00000000003", "TSPAN6"]),
        ("ENSG00000000003.10_2_TSPAN6", ["ENSG00000000003", "TSPAN6"]),
        ("ENSG00000002586.20_PAR_Y_TSPAN6", ["ENSG00000002586_PAR_Y", "TSPAN6"]),
        ("ENSGR0000002586.2_TSPAN6", ["ENSGR0000002586", "TSPAN6"]),
        ("ENSG00000000003-7SK", ["ENSG00000000003", "7SK"]),
        ("ENSG00000000003_7SK", ["ENSG00000000003", "7SK"]),
        ("HLA-A_ENSG00000000003.1", ["HLA-A", "ENSG00000000003"]),
        ("ENSG00000000003_at", ["ENSG00000000003"]),  # Brainarray
        ("Mar-03", ["3-Mar"]),
        ("03-MAR", ["3-Mar"]),
        ("Sep-09", ["9-Sep"]),
        ("2021-09-09", ["9-Sep"]),
        ("2021-03-03 00:00:00", ["3-Mar"]),
    ],
)
def test_what_portals_and_spreadsheets_write(text, names):
    assert list(names_in(text, KNOWN, ENSEMBL)) == names


@pytest.mark.parametrize(
    "text",
    [
        "",
        "TP53|TP63",  # two genes measured as one
        "TP53 (TP63)",
        "7105|2",
        "ENSG00000000003|ENSG00000002586.4",
        "ENSG00000000003_ENSG00000002586",
        "TP53 /// TP63",
        "TP53|7105|3",
        "TP53.1",  # as R makes names unique: a version of nothing
        "TP53.0",
        "7105.5",
        "7105_2",
        "201746_at.1",
        "201746_at_2",
        "tspan6",
        "ENSG00000000003.x",
        "ENSG000000000031",
        "AT1G01010.1_TSPAN6",  # no id of Ensembl's form, so what the rest is cannot be told
        "9-Oct",
        "2021-08-09",
        "Sep-2009",
        "()",
        "|",
        "TP53 ()",
        "-",
    ],
)
def test_what_stands_for_no_known_gene(text):
    assert list(names_in(text, KNOWN, ENSEMBL)) == []


def test_hostile_texts_take_no_time():
    for text in ("(" * 100_000, "ENS" * 30_000, "ENSG" + "0" * 100_000, "_PAR_Y" * 20_000 + "ENS", "|" * 100_000):
        assert list(names_in(text, KNOWN, ENSEMBL)) == []
