"""Gene tables of a source: which genes are measured in enough studies, by whatever names, and what is left out."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from data_prep import gene_tables
from data_prep.__main__ import app
from data_prep.gene_tables import make_gene_tables
from data_prep.pipeline import Settings, prepare
from dgex.data.dataset import read_dataset
from dgex.data.gene_names import GeneNames
from dgex.data.genes import Genes, gene_table_paths, read_gene_tables, write_gene_table
from dgex.formats.expression import in_memory
from dgex.formats.gctx import write_gctx

COUNT = 40
STUDIES = ["A"] * 2 + ["B"] * 4 + ["C"] * 10
# Gene 7 has three ids, of which D-GEX's tables have the second.
NAMES = [GeneNames((f"ENSG9{i:010d}",), str(900_000 + i), (f"MADEUP{i}", f"ALIAS{i}")) for i in range(COUNT)]
NAMES[7] = GeneNames(("ENSG90000000007", "ENSG90000000107", "ENSG90000000207"), "900007", ("MADEUP7",))
IDS = [gene.ensembl[0] for gene in NAMES]
SYMBOLS = [gene.symbols[0] for gene in NAMES]


def genes(numbers, probe: str = "p") -> Genes:
    ids = tuple(IDS[i] if i != 7 else "ENSG90000000107" for i in numbers)
    return Genes(ids, tuple(SYMBOLS[i] for i in numbers), tuple(f"{probe}{i}_at" for i in numbers))


LANDMARKS = genes(range(5))


@pytest.fixture(autouse=True)
def few_genes(monkeypatch):
    """Makes forty genes all that there are, of which D-GEX has 30: those of NCBI Gene take seconds to search."""
    monkeypatch.setattr(gene_tables, "read_names", lambda: tuple(NAMES))
    monkeypatch.setattr(gene_tables, "published", lambda: (LANDMARKS, genes([0, *range(5, 30)], "t")))
    named = {name: [gene] for gene in NAMES for name in (*gene.ensembl, *gene.symbols)}
    monkeypatch.setattr("dgex.data.gene_names._named", lambda name: named.get(name, []))


def values(rows: int = COUNT) -> np.ndarray:
    """Log2 values of 16 profiles, all above zero and each gene at a level of its own."""
    random = np.random.default_rng(0)
    return (random.uniform(3, 12, rows) + random.normal(0, 0.3, (len(STUDIES), rows))).astype(np.float32)


def write(path: Path, table: np.ndarray, rows: list[str], studies: list[str] | None = STUDIES) -> Path:
    metadata = {} if studies is None else {"study_id": np.array(studies)}
    write_gctx(path, in_memory(table, rows, [f"S{i}" for i in range(len(table))], sample_metadata=metadata))
    return path


def symbols(output: Path) -> tuple[list[str], list[str]]:
    landmark, target = read_gene_tables(output)
    return list(landmark.symbol), list(target.symbol)


@pytest.mark.parametrize("naming", ["ids", "versions", "symbols", "Entrez ids", "aliases"])
def test_all_genes_are_found_by_any_of_their_names(tmp_path, naming):
    rows = {
        "ids": IDS,
        "versions": [f"{name}.{3 + i}" for i, name in enumerate(IDS)],
        "symbols": SYMBOLS,
        "Entrez ids": [gene.entrez for gene in NAMES],
        "aliases": [gene.symbols[-1] for gene in NAMES],
    }[naming]
    table = values()[:, ::-1]  # numbers in descending order are no numbering
    source = write(tmp_path / "rna.gctx", table, rows[::-1])
    said = make_gene_tables(source, tmp_path / "genes")
    landmark, target = read_gene_tables(tmp_path / "genes")
    assert landmark.ensembl == landmark.probes == LANDMARKS.ensembl
    expected = IDS[5:] if naming in ("ids", "versions") else [*IDS[5:7], "ENSG90000000107", *IDS[8:]]
    assert sorted(target.ensembl) == sorted(expected)
    assert target.probes == target.ensembl
    assert "5 landmark and 35 target genes of rna.gctx" in said and "left out" not in said


def test_genes_may_be_in_columns(tmp_path):
    """As in DepMap's tables."""
    header = ["", *(f"{gene.symbols[0]} ({gene.entrez})" for gene in NAMES)]
    lines = [[f"ACH-{i:06d}", *map(str, row)] for i, row in enumerate(values().tolist())]
    source = tmp_path / "OmicsExpression.csv"
    source.write_text("".join(",".join(line) + "\n" for line in [header, *lines]))
    make_gene_tables(source, tmp_path / "genes")
    assert symbols(tmp_path / "genes") == (SYMBOLS[:5], SYMBOLS[5:])


def test_studies_count_alike(tmp_path):
    """Gene 6 has values in study A alone, gene 8 in C alone, gene 9 in A and B, gene 10 nowhere, landmark 1 in B."""
    table, study = values(), np.array(STUDIES)
    for gene, measured in ((6, "A"), (8, "C"), (9, "AB"), (10, ""), (1, "B")):
        table[~np.isin(study, list(measured)), gene] = 0 if gene == 8 else np.nan  # no reads, or no value
    source, output = write(tmp_path / "rna.gctx", table, IDS), tmp_path / "genes"

    def left_out(share: float, source: Path = source) -> tuple[set[str], set[str]]:
        make_gene_tables(source, output, share=share)
        landmark, target = symbols(output)
        return set(SYMBOLS[:5]) - set(landmark), set(SYMBOLS[5:]) - set(target)

    assert left_out(0.67) == ({"MADEUP1"}, {"MADEUP6", "MADEUP8", "MADEUP9", "MADEUP10"})
    assert left_out(0.66) == ({"MADEUP1"}, {"MADEUP6", "MADEUP8", "MADEUP10"})
    assert left_out(0.33) == (set(), {"MADEUP10"})
    assert left_out(0) == left_out(0.33)
    assert left_out(1) == left_out(0.67)
    # Of 16 profiles without studies A has 2, B 4 and C 10.
    unnamed = write(tmp_path / "unnamed.gctx", table, IDS, studies=None)
    assert left_out(0.5, unnamed) == ({"MADEUP1"}, {"MADEUP6", "MADEUP9", "MADEUP10"})
    assert left_out(0.37, unnamed) == ({"MADEUP1"}, {"MADEUP6", "MADEUP10"})


def test_few_samples_of_each_study_of_an_archs4_file_decide(tmp_path):
    """Of study GSE1, which has 30 samples of 32, ten count at most; GSE2 alone has reads of gene 6; one is a cell."""
    counts = np.random.default_rng(0).integers(10_000, 90_000, (COUNT, 33)).astype(np.uint32)
    counts[6, :30] = 0
    counts[8, 30:32] = 0
    path = tmp_path / "human_gene.h5"
    with h5py.File(path, "w") as file:
        file["data/expression"] = counts
        file["meta/genes/ensembl_gene"] = np.array(IDS, "S")
        file["meta/samples/geo_accession"] = np.array([f"GSM{i}" for i in range(33)], "S")
        file["meta/samples/series_id"] = np.array(["GSE1"] * 30 + ["GSE2"] * 2 + ["GSE3"], "S")
        file["meta/samples/singlecellprobability"] = np.array([0.1] * 32 + [0.9])
    said = make_gene_tables(path, tmp_path / "genes", share=0.5)
    assert sorted(symbols(tmp_path / "genes")[1]) == sorted(SYMBOLS[5:])
    assert "12 of 33 samples chosen: 32 fulfil singlecellprobability < 0.5" in said
    make_gene_tables(path, tmp_path / "genes", share=0.51)
    assert set(symbols(tmp_path / "genes")[1]) == {SYMBOLS[i] for i in range(5, COUNT) if i not in (6, 8)}
    make_gene_tables(path, tmp_path / "genes", share=0.51, keep='geo_accession != "GSM31" and geo_accession != "GSM30"')
    assert set(symbols(tmp_path / "genes")[1]) == {SYMBOLS[i] for i in range(5, COUNT) if i != 6}


def test_what_is_left_out_is_said(tmp_path):
    table = values(COUNT + 2)
    table[:, 6] = np.nan
    table[3:, 2] = np.nan
    source = write(tmp_path / "rna.gctx", table, [*IDS, "ENSG90000000107", "spike"])
    assert make_gene_tables(source, tmp_path / "genes").splitlines()[:5] == [
        f"{tmp_path / 'genes'}: 4 landmark and 34 target genes of rna.gctx",
        "left out: 1 landmarks are measured in less than 50% of a study, such as MADEUP2",
        "left out: 1 other genes are measured in less than 50% of a study, such as MADEUP6",
        "left out: 1 rows are further Ensembl ids of these genes, such as MADEUP7",
        "1 rows belong to none of the genes that were looked for",
    ]


def test_of_several_ids_the_one_that_is_measured_most_stands_for_a_gene(tmp_path):
    table = values(COUNT + 2)
    table[0, 7] = table[:2, -2] = np.nan
    source = write(tmp_path / "rna.gctx", table, [*IDS, "ENSG90000000107", "ENSG90000000207"])
    make_gene_tables(source, tmp_path / "genes")
    target = read_gene_tables(tmp_path / "genes")[1]
    assert {name for name in target.ensembl if name in NAMES[7].ensembl} == {"ENSG90000000207"}


def test_probe_sets_are_those_of_published_tables(tmp_path):
    rows = [f"p{i}_at" for i in range(5)] + [f"t{i}_at" for i in range(30)]
    source = write(tmp_path / "arrays.gctx", values(len(rows)), rows)
    panel = tmp_path / "panel.txt"
    write_gene_table(panel, genes([9, 3], "t"))
    app(["genes", "--from", str(source), "--landmarks", str(panel), "-o", str(tmp_path / "genes")])
    landmark, target = read_gene_tables(tmp_path / "genes")
    assert (landmark.symbol, landmark.probes) == (("MADEUP9", "MADEUP3"), ("t9_at", "t3_at"))
    assert set(target.symbol) == set(SYMBOLS[:30]) - {"MADEUP9", "MADEUP3"}
    assert dict(zip(target.symbol, target.probes, strict=True))["MADEUP0"] == "p0_at"


def test_a_target_that_would_equal_an_input_is_left_out(tmp_path):
    targets = tmp_path / "targets.txt"
    write_gene_table(targets, genes([0, 1, 20, 21], "t"))
    arguments = [tmp_path / "genes", "l1000", str(targets)]
    said = make_gene_tables(write(tmp_path / "rna.gctx", values(), IDS), *arguments)
    assert "left out: 2 targets have the same rows as a landmark, such as MADEUP0, MADEUP1" in said
    assert symbols(tmp_path / "genes")[1] == ["MADEUP20", "MADEUP21"]
    probes = [f"p{i}_at" for i in range(5)] + [f"t{i}_at" for i in (0, 1, 20, 21)]
    make_gene_tables(write(tmp_path / "arrays.gctx", values(9), probes), *arguments)
    assert symbols(tmp_path / "genes")[1] == ["MADEUP0", "MADEUP1", "MADEUP20", "MADEUP21"]  # other probe sets


def test_prepare_takes_the_tables(tmp_path):
    source = write(tmp_path / "rna.gctx", values(), SYMBOLS)
    make_gene_tables(source, tmp_path / "genes")
    settings = Settings(split="sample", fractions=(0.5, 0.25, 0.25))
    prepare(source, tmp_path / "genes", tmp_path / "prepared.h5", settings, command="prepare")
    dataset = read_dataset(tmp_path / "prepared.h5")
    assert (dataset.landmark_genes, dataset.target_genes) == read_gene_tables(tmp_path / "genes")


def test_bad_input_is_refused_in_a_line(tmp_path, refused):
    source = write(tmp_path / "rna.gctx", values(), IDS)
    other = write(tmp_path / "other.gctx", values(), [f"row {i}" for i in range(COUNT)])
    empty = tmp_path / "empty.txt"
    empty.touch()
    only = tmp_path / "only.gctx"
    write(only, values(5), IDS[:5])
    output = tmp_path / "genes"
    for arguments, line in (
        (["--landmarks", str(empty)], "--landmarks: is for the genes of a source; give --from SOURCE"),
        (["--share", "0.2"], "--share: is for the genes of a source"),
        (["--from", str(source), "--landmarks", str(empty)], "empty.txt: the gene table is empty"),
        (["--from", str(source), "--landmarks", "L10"], "L10: cannot be read as a gene table"),
        (["--from", str(source), "--keep", "a = b"], "--keep chooses samples of an ARCHS4 file, and this is none"),
        (["--from", str(other)], "are not recognised"),
        (["--from", str(only)], "only.gctx: has no gene but the landmarks; give --targets FILE"),
    ):
        assert line in refused(lambda arguments=arguments: app(["genes", *arguments, "-o", str(output)]))
        assert not output.exists()


def test_nothing_is_written_where_one_table_would_be_empty(tmp_path, refused):
    table = values()
    table[:9, 5:] = np.nan
    source = write(tmp_path / "rna.gctx", table, IDS)
    arguments = ["genes", "--from", str(source), "--share", "0.9", "-o", str(tmp_path / "genes")]
    assert "no gene is left for map_tg.txt; lower --share" in refused(lambda: app(arguments))
    assert not any(path.exists() for path in gene_table_paths(tmp_path / "genes"))


@pytest.mark.slow
def test_real_tables(shared, tmp_path, monkeypatch):
    """The compendium's rows are D-GEX's probe sets, so that all of its genes are found again."""
    monkeypatch.undo()
    make_gene_tables(shared / "data" / "geo" / "geo_compendium_n704x16687.gctx", tmp_path / "genes")
    landmark, target = read_gene_tables(tmp_path / "genes")
    known = read_gene_tables(shared / "data" / "genes")
    assert landmark == known[0]
    assert set(target.ensembl) == set(known[1].ensembl) - set(landmark.ensembl)
