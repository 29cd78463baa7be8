"""What quantifiers write, one file of each kind, written here; and the names that tell annotation from samples."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from dgex.data.gene_names import read_names
from dgex.formats.annotation import ANNOTATION, annotated, is_annotation, measured, measurements, names_index
from dgex.formats.expression import in_memory
from dgex.formats.opening import open_expression

RSEM = "gene_id transcript_id(s) length effective_length expected_count TPM FPKM"
CREDIBLE = "posterior_mean_count posterior_standard_deviation_of_count pme_TPM pme_FPKM TPM_ci_lower_bound"
COUNTS = "Geneid Chr Start End Strand Length"
GDC = "gene_id gene_name gene_type unstranded stranded_first stranded_second tpm_unstranded fpkm_unstranded"
CUFFLINKS = "tracking_id class_code gene_id gene_short_name tss_id locus length coverage FPKM FPKM_conf_lo FPKM_status"
STRINGTIE = "Gene_ID Gene_Name Reference Strand Start End Coverage FPKM TPM"

# Each with the genes a and b, whose values are 5 and 7; and what the sample is called.
QUANTIFIED = {
    "S1.genes.results": (f"{RSEM}\na ENST1 1000 800 3 5 4\nb ENST2 500 300 4 7 6\n", "S1.genes"),
    "S2.genes.results": (f"{RSEM} {CREDIBLE}\na t 9 8 3 5 4 1 1 1 1 1\nb t 5 3 4 7 6 1 1 1 1 1\n", "S2.genes"),
    "quant.genes.sf": ("Name Length EffectiveLength TPM NumReads\na 1000 800 5 10\nb 500 300.5 7 11\n", "quant.genes"),
    "abundance.tsv": ("target_id length eff_length est_counts tpm\na 1000 800 3 5\nb 500 300 4 7\n", "abundance"),
    "counts.txt": (f"# Program:featureCounts\n{COUNTS} x/s1.bam\na 1;1 1;9 3;12 +;+ 5 5\nb X 1 3 - 2 7\n", "x/s1.bam"),
    "bare.txt": (f"{COUNTS} s1.bam\na 1 1 3 + 2 5\nb 2 1 3 - 2 7\n", "s1.bam"),
    "htseq.txt": ("a 5\nb 7\n__no_feature 9\n__ambiguous 1\n__alignment_not_unique 3\n", "htseq"),
    "named.txt": ("a A 5\nb B 7\n__no_feature  9\n__ambiguous  1\n", "named"),  # --additional-attr
    "headed.txt": (" s1.bam\na 5\nb 7\n__no_feature 9\n", "s1.bam"),  # --with-header
    "entrez.txt": ("7157 5\n5720 7\n", "entrez"),
    "S1ReadsPerGene.out.tab": ("N_unmapped 9 9 9\nN_noFeature 1 2 3\na 5 1 4\nb 7 3 4\n", "S1ReadsPerGene.out"),
    "gdc.tsv": (f"# gene-model: v36\n{GDC}\nN_unmapped   1 1 1  \na A x 2 1 1 5 3\nb B x 3 2 1 7 4\n", "gdc"),
    "genes.fpkm_tracking": (f"{CUFFLINKS}\na - a A - c:1 - - 5 4 OK\nb - b B - c:3 - - 7 4 OK\n", "genes"),
    "gene_abund.tab": (f"{STRINGTIE}\na A 1 + 1 2 3.5 4 5\nb B 2 - 1 2 3.5 4 7\n", "gene_abund"),
    "by_hand.csv": ("gene count\na 5\nb 7\n", "by_hand"),
}


@pytest.mark.parametrize("mark", ["\t", ","])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("name", QUANTIFIED)
def test_what_a_quantifier_writes_is_one_profile(tmp_path, name, end, mark):
    text, sample = QUANTIFIED[name]
    path = tmp_path / name
    path.write_bytes(text.replace(" ", mark).replace("\n", end).encode())
    with open_expression(path) as table:
        assert table.sample_id == (sample,)
        assert table.row_id == (("7157", "5720") if name == "entrez.txt" else ("a", "b"))
        assert table.load().tolist() == [[5, 7]]


@pytest.mark.parametrize("name", ["S1.genes.results", "quant.genes.sf", "abundance.tsv"])
def test_and_so_it_is_with_genes_in_columns(tmp_path, name):
    lines = [line.split() for line in QUANTIFIED[name][0].splitlines()]
    columns = [column for column in zip(*lines, strict=True) if "ENST1" not in column]
    path = tmp_path / f"{name}.gz"
    path.write_bytes(gzip.compress("".join("\t".join(column) + "\n" for column in columns).encode(), mtime=0))
    with open_expression(path) as table:
        assert table.row_id == (QUANTIFIED[name][1],) and table.sample_id == ("a", "b")
        assert table.load().T.tolist() == [[5, 7]]
        assert table.sample_metadata[columns[1][0]].tolist() == [1000, 500]


def test_several_samples_lose_nothing_but_what_is_no_gene(tmp_path):
    path = tmp_path / "counts.txt"
    path.write_text(f"{COUNTS} s1 s2\na 1 1 3 + 2 5 6\n__no_feature      9 9\nb 2 1 3 - 2 7 8\n".replace(" ", "\t"))
    with open_expression(path) as table:
        assert table.row_id == ("a", "b") and table.sample_id == ("s1", "s2")
        assert [values.tolist() for *_, values in table.blocks(1)] == [[[5], [6]], [[7], [8]]]
        assert table.row_metadata["Chr"].tolist() == [1, 2]
        assert table.sample_metadata["__no_feature"].tolist() == [9, 9]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            "id,TPM,S1\na,5,1\nb,7,1\n",
            "holds 'S1' beside 'TPM', the values of one sample; keep the ids and 'TPM' alone",
        ),
        ("id,NumReads,TPM,cpm\na,1,5,1\nb,1,7,1\n", "holds 'cpm' beside 'TPM'"),
        ("id,a,b\nS1,5,1\nTPM,7,1\n", "holds 'S1' beside 'TPM'"),
        ("id,a,b\nLength,5,1\nStart,7,1\n", "holds 'Length' and no measurements"),
        ("a,5,1\nb,7,1\n__no_feature,1,1\n", "begins with numbers, such as '1'; name the columns in the first line"),
    ],
)
def test_what_may_be_one_sample_or_several_is_refused(tmp_path, refused, text, complaint):
    path = tmp_path / "some.csv"
    path.write_text(text)

    def read():
        with open_expression(path):
            pass

    assert f"{path}: {complaint}" in refused(read)


def test_annotation_between_samples_is_left_out_of_any_table():
    values = np.arange(20, dtype=np.float32).reshape(4, 5)
    rows, samples = ["a", "N_unmapped", "b", "c", "__ambiguous"], ["s1", "Length", "s2", "s2.Detection Pval"]
    table = in_memory(values, rows, samples, {"n": np.arange(5)}, {"m": np.arange(4)})
    part = measured(Path("some.gct"), table)
    assert part.row_id == ("a", "b", "c") and part.sample_id == ("s1", "s2")
    np.testing.assert_array_equal(part.load(), values[[0, 2]][:, [0, 2, 3]])
    assert part.row_metadata["n"].tolist() == [0, 2, 3] and part.sample_metadata["m"].tolist() == [0, 2]
    plain = in_memory(values, list("abcde"), list("wxyz"))
    assert plain.selected(range(5), range(4)) is plain
    blanks = in_memory(values, [" a", "b ", "c", "d", "e"], ["\tw", "x", "y", "z"])
    assert measured(Path("some.gctx"), blanks).row_id == plain.row_id
    assert measured(Path("some.gctx"), blanks).sample_id == plain.sample_id


def test_no_symbol_of_a_gene_is_taken_for_annotation():
    symbols = sorted({symbol for gene in read_names() for symbol in gene.symbols})
    assert [symbols[i] for i in annotated(symbols)] == ["END"]  # an alias of ENG, and a position in every annotation
    assert len(measurements("names", symbols)) == len(symbols) - 1
    current = {gene.symbols[0] for gene in read_names()}
    assert not [symbol for symbol in current if names_index(symbol)]


def test_names_count_in_any_case_and_with_any_punctuation():
    for name in (
        "Length",
        "effective_length",
        "Effective.Length",
        " GENE ID",
        "Gene start (bp)",
        "s1.Detection Pval",
        "median_length",
        "Gene length (bp)",
        "log2FoldChange",
        "adj.P.Val",
    ):
        assert is_annotation(name)
    assert is_annotation("NCBI gene (formerly Entrezgene) ID") and is_annotation("Chromosome/scaffold name")
    for name in ("S1", "GC", "gene", "lengths", "length of stay", "", "starter", "CPM"):
        assert not is_annotation(name)
    assert all(is_annotation(name) for name in ANNOTATION)


INDEX = """gene,Gene ID,GeneID,gene_id,symbol,Hugo_Symbol,ID_REF,TargetID,probe_set,probeset_id,Hybridization REF,
sample,Sample ID,cell_line,DepMap_ID,MyTumorID,barcode,patient no,,X,Unnamed: 0,#gene,Gene stable ID version"""
NO_INDEX = """S1,Sample_1,sample1,T_cell,CD4 cells,B.line,GSM1,TCGA-OR-A5J1-01,tumor_A,TSPAN6,HLA-DMA,200814_at,
ENSG00000000003,7157,SET,IDS"""


def test_columns_of_ids_are_told_from_genes_and_samples():
    assert [name for name in INDEX.replace("\n", "").split(",") if not names_index(name)] == []
    assert [name for name in NO_INDEX.replace("\n", "").split(",") if names_index(name)] == []
