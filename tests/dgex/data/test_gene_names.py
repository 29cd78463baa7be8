"""What genes are called, against names that HGNC and Ensembl show for them."""

from importlib.resources import files

from dgex.data.gene_names import FOREIGN, names_of, namings, read_names
from dgex.data.genes import Genes


def genes(*lines):
    """Of "Ensembl id, symbol, probe sets"."""
    return Genes(*zip(*(line.split() for line in lines), strict=True))


def test_the_file_is_small_sorted_and_bears_no_time():
    data = files("dgex.data").joinpath("gene_names.tsv.gz").read_bytes()
    assert len(data) < 1_000_000 and data[3:8] == bytes(5)  # no file name, no time
    names = read_names()
    assert len(names) == 36_596  # genes of org.Hs.eg.db 3.16.0 with an Ensembl id
    assert [gene.ensembl for gene in names] == sorted(gene.ensembl for gene in names)
    assert len({gene.entrez for gene in names}) == len(names)
    assert len({name for gene in names for name in gene.ensembl}) == 39_708


def test_known_genes():
    names = {gene.entrez: gene for gene in read_names()}
    assert names["7157"].symbols[0] == "TP53" and names["7157"].ensembl == ("ENSG00000141510",)
    assert "ENSG00000092010" in names["5720"].ensembl and names["5720"].symbols[:2] == ("PSME1", "HEL-S-129m")
    assert {"KIAA0907", "BLOM7"} <= set(names["22889"].symbols[1:])  # now KHDC4


def test_no_other_symbol_is_a_current_one():
    current = {gene.symbols[0] for gene in read_names()}
    assert not current.intersection(name for gene in read_names() for name in gene.symbols[1:])


def test_names_of_genes():
    found = names_of(
        genes(
            "ENSG00000111215 PRR4 -",  # NCBI has an older gene, PRH1, under the same Ensembl id
            "ENSG00000143466 IKBKE -",  # retired
            "ENSG00000132680 KIAA0907 -",  # renamed
            "ENSG9 NOSUCHGENE -",
            "ENSMUSG00000059552 TP53 -",  # of the mouse
        )
    )
    assert [gene and gene.entrez for gene in found] == ["11272", "9641", "22889", None, None]


def test_every_landmark_of_d_gex_is_known(landmark_genes):
    known = names_of(landmark_genes)
    assert all(symbol in gene.symbols for symbol, gene in zip(landmark_genes.symbol, known, strict=True))


def test_namings():
    found = namings(genes("ENSG00000206053 JPT2 a_at,b_at", "ENSG00000128534 NAA38 c_at", "ENSG00000143466 IKBKE a_at"))
    own, present, _, on_y = found["Ensembl id"]
    assert own == {"ENSG00000206053": [0], "ENSG00000128534": [1], "ENSG00000143466": [2]}
    assert present == {"ENSG00000263528": [2]}
    assert on_y["ENSG00000206053_PAR_Y"] == on_y["ENSGR0000206053"] == [0] and len(on_y) == 6
    assert found["probe set"] == [{"a_at": [0, 2], "b_at": [0], "c_at": [1]}]
    assert found["Entrez id"] == [{"90861": [0], "51691": [1], "9641": [2]}]
    best, capitals, others = found["symbol"]
    assert best == {"JPT2": [0], "LSM8": [1], "IKBKE": [2]}
    assert capitals == {}
    assert others["NAA38"] == [1, FOREIGN]  # LSM8 was called so; another gene is now
    assert others["HN1L"] == [0, FOREIGN]  # a former name of JPT2 and of CRAMP1
    assert others["C16orf34"] == [0]


def test_capitals_come_after_the_symbols_themselves():
    best, capitals, others = namings(genes("ENSG00000143612 C1orf43 -"))["symbol"]
    assert best == {"C1orf43": [0]} and capitals == {"C1ORF43": [0]}
    assert "NICE-3" in others and "C1orf43" not in others


def test_dates_mean_what_a_spreadsheet_program_took_for_them():
    found = genes(
        "ENSG00000145416 MARCH1 -",
        "ENSG00000173926 MARCH3 -",
        "ENSG00000168385 SEPT2 -",
        "ENSG00000125354 SEPT6 -",
        "ENSG00000183291 SELENOF -",
        "ENSG00000134107 BHLHE40 -",
    )
    best, _, others = namings(found)["symbol"]
    assert best["1-Mar"] == [0, FOREIGN]  # or of MARC1
    assert best["3-Mar"] == best["MARCH3"] == [1]
    assert best["2-Sep"] == best["SEPT2"] == [2]  # which is an alias of SEPT6 too
    assert best["6-Sep"] == [3] and others["15-Sep"] == others["SEP15"] == [4]
    assert others["1-Dec"] == others["DEC1"] == [5, FOREIGN]  # an alias, and another gene's former symbol
    assert not any("4-Mar" in tier or "1-Jan" in tier for tier in (best, others))


def test_genes_without_probe_sets_have_no_name_for_them():
    assert namings(Genes(("ENSG9",), ("X9",), ("",)))["probe set"] == [{}]
