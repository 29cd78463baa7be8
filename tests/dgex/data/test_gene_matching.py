"""Which rows are the landmarks, on small tables made for each rule; averages against pandas."""

import numpy as np
import pandas as pd
import pytest

from dgex.data.gene_matching import GeneRows, average, match_genes
from dgex.data.gene_names import read_names
from dgex.data.genes import Genes
from dgex.errors import DgexError
from dgex.formats.expression import in_memory

NAN = np.nan
PATH = "table.csv"

# Real genes: KIAA0907 is now KHDC4, HN1L is now JPT2; CRAMP1 was called HN1L as well.
GENES = Genes(
    ("ENSG00000141510", "ENSG00000132680", "ENSG00000206053", "ENSG00000143612"),
    ("TP53", "KIAA0907", "JPT2", "C1orf43"),
    ("201746_at,211300_s_at", "202220_at", "212115_at", "217492_at"),
)
ENTREZ = (7157, 22889, 90861, 25912)


def table(row_id, samples=("s1", "s2"), row_metadata=None, sample_metadata=None):
    def columns(metadata):
        return {name: np.array(column) for name, column in (metadata or {}).items()}

    values = np.zeros((len(samples), len(row_id)), np.float32)
    return in_memory(values, row_id, samples, columns(row_metadata), columns(sample_metadata))


def others(count):
    """Names of nothing."""
    return tuple(f"row {number} of none" for number in range(count))


def rows_of(match):
    """Each gene's rows."""
    return [own.tolist() for own in np.split(match.rows.members, np.cumsum(match.rows.count)[:-1])]


def test_landmarks_among_all_human_genes(landmark_genes):
    """Tables of today: no gene is missed, none is taken for another."""
    everything = read_names()
    symbols = list(dict.fromkeys(gene.symbols[0] for gene in everything))
    ids = [str(gene.entrez) for gene in everything]
    now = {old: gene.symbols[0] for gene in everything for old in gene.ensembl}
    for names in (symbols, [name.upper() for name in symbols]):
        match = match_genes(PATH, table(list(dict.fromkeys(names))), landmark_genes)
        assert (match.naming, match.found, match.ambiguous) == ("symbol", 943, ())
        for ensembl, own, (row,) in zip(landmark_genes.ensembl, landmark_genes.symbol, rows_of(match), strict=True):
            assert names[row] in (own, now.get(ensembl, own))
    assert match_genes(PATH, table(ids), landmark_genes).found == 943


@pytest.mark.parametrize(
    ("names", "naming"),
    [
        (GENES.ensembl, "Ensembl id"),
        ([f"{name}.{version}" for version, name in enumerate(GENES.ensembl, 9)], "Ensembl id"),
        (["201746_at", "202220_at", "212115_at", "217492_at"], "probe set"),
        ([str(name) for name in ENTREZ], "Entrez id"),
        ([f"{name}.0" for name in ENTREZ], "Entrez id"),
        (["TP53", "KIAA0907", "JPT2", "C1orf43"], "symbol"),  # the model's own
        (["TP53", "KHDC4", "JPT2", "C1orf43"], "symbol"),  # the current ones
        (["TP53", "KHDC4", "JPT2", "C1ORF43"], "symbol"),
        (["P53", "BLOM7", "C16orf34", "NICE-3"], "symbol"),  # aliases
    ],
)
def test_every_naming_in_every_place(names, naming):
    names = ["not a gene", *names]
    ids = [f"id {number}" for number in range(5)]
    for given, field, transposed in (
        (table(names), None, False),
        (table(["s1", "s2"], names), None, True),
        (table(ids, row_metadata={"title": ["?"] * 5, "gene": names}), "gene", False),
        (table(["s1", "s2"], ids, sample_metadata={"gene": names}), "gene", True),
    ):
        match = match_genes(PATH, given, GENES)
        assert (match.naming, match.field, match.transposed) == (naming, field, transposed)
        assert rows_of(match) == [[1], [2], [3], [4]]
        assert match.missing == match.ambiguous == () and match.unused == 1


def test_numbers_are_entrez_ids():
    for numbers in (ENTREZ[::-1], [float(number) for number in ENTREZ[::-1]]):
        match = match_genes(PATH, table("abcd", row_metadata={"gene": numbers}), GENES)
        assert match.naming == "Entrez id" and rows_of(match) == [[3], [2], [1], [0]]
    gap = match_genes(PATH, table("abcd", row_metadata={"gene": [7157, NAN, 90861, 25912.5]}), GENES)
    assert rows_of(gap) == [[0], [], [2], []]
    assert rows_of(match_genes(PATH, table(["7157.5", "22889.0"]), GENES)) == [[], [1], [], []]


@pytest.mark.parametrize("form", ["{}", "{}.0"])
def test_row_numbers_are_no_entrez_ids(form):
    numbers = range(30_000)  # TP53 and KHDC4 would be among them, and C1orf43
    ids = [form.format(number) for number in numbers]
    given = table(ids, row_metadata={"n": numbers, "symbol": ["TP53", *others(29_999)]})
    match = match_genes(PATH, given, GENES)
    assert (match.naming, match.field, rows_of(match)) == ("symbol", "symbol", [[0], [], [], []])


def test_blanks_around_names_do_not_matter():
    for given in (table([" TP53", "x ", "C1orf43\t"]), table("abc", row_metadata={"gene": ["TP53 ", "", "C1orf43 "]})):
        assert rows_of(match_genes(PATH, given, GENES)) == rows_of(
            match_genes(PATH, table(["TP53", "x", "C1orf43"]), GENES)
        )


def test_lengths_and_positions_are_no_entrez_ids():
    given = table("abcd", row_metadata={"Length": ENTREZ, "start": ENTREZ, "symbol": ["TP53", *others(3)]})
    match = match_genes(PATH, given, GENES)
    assert (match.naming, match.field, rows_of(match)) == ("symbol", "symbol", [[0], [], [], []])


def test_the_most_landmarks_win():
    given = table(["ENSG00000141510", "b"], ["TP53", "C1orf43"], row_metadata={"gene": [1, 7157]})
    match = match_genes(PATH, given, GENES)
    assert (match.naming, match.transposed, match.found) == ("symbol", True, 2)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (dict(row_id=["ENSG00000141510", "x"]), dict(row_id=["201746_at", "x"])),
        (dict(row_id=["201746_at", "x"]), dict(row_id=["7157", "x"])),
        (dict(row_id=["7157", "x"]), dict(row_id=["TP53", "x"])),
    ],
)
def test_of_equals_the_surer_naming_wins(first, second):
    """Even where its place is the less likely one."""
    given = table(second["row_id"], ["y", "z"], sample_metadata={"gene": first["row_id"]})
    match = match_genes(PATH, given, GENES)
    assert (match.transposed, match.field) == (True, "gene")


def test_of_equals_ids_come_first_and_then_rows():
    gene = {"gene": ["TP53", "x"]}
    match = match_genes(PATH, table(["a", "b"], ["TP53", "x"], row_metadata=gene), GENES)
    assert (match.field, match.transposed) == (None, True)
    match = match_genes(PATH, table(["a", "b"], row_metadata=gene, sample_metadata=gene), GENES)
    assert (match.field, match.transposed) == ("gene", False)
    match = match_genes(PATH, table(["TP53", "b"], ["TP53", "x"], row_metadata=gene), GENES)
    assert (match.field, match.transposed) == (None, False)


def test_probe_sets_of_a_gene_are_averaged():
    match = match_genes(PATH, table(["211300_s_at", "x_at", "201746_at", "202220_at"]), GENES)
    assert rows_of(match) == [[2, 0], [3], [], []]
    assert match.ambiguous == () and match.unused == 1
    assert match.missing == ("JPT2 (ENSG00000206053)", "C1orf43 (ENSG00000143612)")


def test_a_symbol_beats_an_alias():
    match = match_genes(PATH, table(["P53", "TP53", "BLOM7", "C1ORF43", "C1orf43"]), GENES)
    assert rows_of(match) == [[1], [2], [], [4]] and match.ambiguous == ()


@pytest.mark.parametrize(
    ("names", "gene", "claims"),
    [
        (["ENSG00000141510.16", "ENSG00000141510.17"], "TP53 (ENSG00000141510)", "ENSG00000141510 (2 times)"),
        (["P53", "LFS1"], "TP53 (ENSG00000141510)", "P53, LFS1"),
        (["KIAA0907", "KHDC4"], "KIAA0907 (ENSG00000132680)", "KIAA0907, KHDC4"),
        (["KIAA0907", "KHDC4", "BLOM7"], "KIAA0907 (ENSG00000132680)", "KIAA0907, KHDC4"),  # even with an alias
        (["HN1L"], "JPT2 (ENSG00000206053)", "HN1L (also another gene's)"),
    ],
)
def test_what_is_ambiguous_is_not_used(names, gene, claims):
    kind = "ENSG00000143612" if names[0].startswith("ENSG") else "C1orf43"
    match = match_genes(PATH, table([*names, kind]), GENES)
    assert match.found == 1 and rows_of(match)[3] == [len(names)]
    shown, _, listed = match.ambiguous[0].partition(": ")
    assert len(match.ambiguous) == 1 and shown == gene and gene in match.missing
    assert sorted(listed.split(", ")) == sorted(claims.split(", "))


@pytest.mark.parametrize(
    ("names", "naming"),
    [
        (["TP53", "C1orf43", "TP53"], "symbol"),
        (["P53", "C1orf43", "P53"], "symbol"),
        (["7157", "25912", "7157.0"], "Entrez id"),
        ([7157, 25912, 7157], "Entrez id"),
        (["201746_at", "217492_at", "201746_at"], "probe set"),
    ],
)
def test_rows_of_one_name_are_averaged(names, naming):
    """As an array's probes have them, in ids or metadata, in rows or columns."""
    ids = [str(name) for name in names]
    for given, field in (
        (table("abc", row_metadata={"gene": names}), "gene"),
        (table("xy", "abc", sample_metadata={"gene": names}), "gene"),
        (table(ids), None),
        (table("xy", ids), None),
    ):
        match = match_genes(PATH, given, GENES)
        assert (match.naming, match.field) == (naming, field)
        averaged = () if naming == "probe set" else ("TP53 (ENSG00000141510): 2 rows",)
        assert match.averaged == averaged
        assert rows_of(match) == [[0, 2], [], [], [1]] and match.ambiguous == ()
        values = np.array([[4, 1, 8], [NAN, 2, 6]], np.float32)
        np.testing.assert_array_equal(average(values, match.rows)[:, [0, 3]], [[6, 1], [6, 2]])


@pytest.mark.parametrize("names", [["ENSG00000141510.16", "ENSG00000141510.17"], ["ENSG00000141510"] * 2])
def test_rows_of_one_ensembl_id_are_ambiguous(names):
    names = [*names, "ENSG00000143612"]
    for given in (table("abc", row_metadata={"gene": names}), table(names), table("xy", names)):
        match = match_genes(PATH, given, GENES)
        assert match.naming == "Ensembl id" and rows_of(match) == [[], [], [], [2]]
        assert match.ambiguous == ("TP53 (ENSG00000141510): ENSG00000141510 (2 times)",)


def test_a_field_that_tells_rows_apart_comes_first(landmark_genes):
    """In which a symbol stands for two genes; unless it knows a tenth fewer."""
    entrez = {gene.symbols[0]: gene.entrez for gene in read_names()}
    symbols = [symbol for symbol in landmark_genes.symbol if symbol in entrez][:200]
    for unknown, naming in ((0, "Entrez id"), (19, "Entrez id"), (21, "symbol")):
        ids = ["-"] * unknown + [entrez[symbol] for symbol in symbols[unknown:]]
        match = match_genes(PATH, table([*symbols, symbols[50]], row_metadata={"gene": [*ids, "1"]}), landmark_genes)
        assert (match.naming, len(match.averaged)) == (naming, naming == "symbol")


@pytest.mark.parametrize("again", ["", "x", "SNORD38B", "ENSG00000141511", "9"])
def test_what_names_no_gene_may_repeat(again):
    for names in (GENES.ensembl, ENTREZ, GENES.symbol):
        ids = [again, *map(str, names), again]
        for given in (table(ids), table("st", ids), table("abcdef", row_metadata={"gene": ids})):
            match = match_genes(PATH, given, GENES)
            assert rows_of(match) == [[1], [2], [3], [4]] and match.ambiguous == match.averaged == ()


@pytest.mark.parametrize(
    ("samples", "complaint"),
    [
        (["s", "t", "s"], "holds the sample s twice"),
        (["s", ""], "holds the sample ''"),
        (["\N{REPLACEMENT CHARACTER}"], "in UTF-8"),
    ],
)
def test_samples_have_unique_names(samples, complaint):
    for given in (table(GENES.symbol, samples), table(samples, GENES.symbol)):
        with pytest.raises(DgexError, match=complaint):
            match_genes(PATH, given, GENES)


def test_names_of_portals():
    expected = [[1], [2], [3], [4]]
    for form in ("{0} ({1})", "{0}|{1}", "{2}.7_{0}", "{2}_{0}", "{0}|{2}", "{1}.0", "{2}.10_2"):
        names = ["?|1", *map(form.format, GENES.symbol, ENTREZ, GENES.ensembl), "other", "other"]
        for given in (table(names), table("st", names)):
            match = match_genes(PATH, given, GENES)
            assert rows_of(match) == expected and match.naming in ("Ensembl id", "Entrez id")


def test_a_genes_copy_on_y_is_the_gene_where_it_is_alone():
    genes = Genes(("ENSG00000002586", "ENSG00000141510"), ("CD99", "TP53"), ("-", "-"))
    for copy in ("ENSG00000002586.20_PAR_Y", "ENSGR0000002586.20"):
        match = match_genes(PATH, table(["ENSG00000002586.20", "ENSG00000141510.1", copy]), genes)
        assert rows_of(match) == [[0], [1]] and match.ambiguous == ()
        assert rows_of(match_genes(PATH, table(["ENSG00000141510.1", copy]), genes)) == [[1], [0]]
    both = Genes(("ENSG00000124334", "ENSGR0000124334"), ("IL9R", "IL9R"), ("-", "-"))  # as D-GEX's targets
    for copy in ("ENSG00000124334.17_PAR_Y", "ENSGR0000124334.17", "ENSGR0000124334.17_IL9R"):
        assert rows_of(match_genes(PATH, table([copy, "ENSG00000124334.17"]), both)) == [[1], [0]]
        assert rows_of(match_genes(PATH, table([copy, "x"]), both)) == [[], [0]]


def test_dates_that_were_symbols():
    genes = Genes(
        ("ENSG00000145416", "ENSG00000173926", "ENSG00000168385", "ENSG00000184640"),
        ("MARCH1", "MARCH3", "SEPT2", "SEPT9"),
        ("-",) * 4,
    )
    match = match_genes(PATH, table(["1-Mar", "3-Mar", "2-Sep", "Sep-09", "1-Mar"]), genes)
    assert rows_of(match) == [[], [1], [2], [3]]
    assert match.ambiguous == ("MARCH1 (ENSG00000145416): 1-Mar (2 times, also another gene's)",)
    assert rows_of(match_genes(PATH, table(["1-Mar", "MARCHF1", "SEPTIN2"]), genes))[0] == []


def test_genes_of_two_tables_are_found_by_one_naming():
    """With probe sets of their own where a gene is in both."""
    target = Genes(("ENSG00000007545", "ENSG00000141510"), ("CRAMP1", "TP53"), ("x_at", "y_at"))
    match = match_genes(PATH, table(["y_at", "201746_at", "TP53", "x_at"]), GENES, target)
    assert match.naming == "probe set" and rows_of(match) == [[1], [], [], [], [3], [0]] and match.unused == 1
    match = match_genes(PATH, table(["TP53", "x_at", "KHDC4", "CRAMP1"]), GENES, target)
    assert match.naming == "symbol" and rows_of(match) == [[0], [2], [], [], [3], [0]]
    match = match_genes(PATH, table(["HN1L", "TP53"]), GENES, target)
    assert rows_of(match) == [[1], [], [], [], [], [1]] and len(match.ambiguous) == 2


def test_reports():
    assert (
        match_genes(PATH, table(["TP53", "KHDC4", "JPT2", "C1orf43", "x", "y"]), GENES).report()
        == "4 of 4 landmarks found by symbol (row ids); 2 rows unused"
    )
    assert match_genes(PATH, table(["TP53", "JPT2", "TP53", "C1orf43", "KHDC4"]), GENES).report() == (
        "4 of 4 landmarks found by symbol (row ids); 0 rows unused\n"
        "1 averaged over rows of one symbol: TP53 (ENSG00000141510): 2 rows"
    )
    given = table("ab", "abc", sample_metadata={"gene": ["P53", "LFS1", "JPT2"]})
    assert match_genes(PATH, given, GENES).report() == (
        "1 of 4 landmarks found by symbol (column metadata gene); 2 columns unused\n"
        "3 missing: TP53 (ENSG00000141510); KIAA0907 (ENSG00000132680); C1orf43 (ENSG00000143612)\n"
        "1 ambiguous, so missing: TP53 (ENSG00000141510): LFS1, P53"
    )


def test_long_lists_are_cut(landmark_genes):
    lines = match_genes(PATH, table(landmark_genes.symbol[:900]), landmark_genes).report().split("\n")
    assert lines[0] == "900 of 943 landmarks found by symbol (row ids); 0 rows unused" and len(lines) == 2
    assert lines[1].startswith("43 missing: ") and lines[1].endswith(" and 33 more") and lines[1].count("ENSG") == 10


def test_unrecognised_names_are_shown_with_those_expected():
    with pytest.raises(DgexError) as error:
        match_genes(PATH, table(["g1\n", "g2", "g3", "g4"], ["Tp53"]), GENES)
    line = str(error.value)
    assert "\n" not in line and line.startswith("table.csv: the landmarks are not recognised; ")
    for shown in (r"'g1\n', 'g2', 'g3',", "'Tp53'", "(ENSG00000141510)", "(201746_at)", "(7157)", "(TP53)"):
        assert shown in line
    assert "g4" not in line


def test_a_few_chance_hits_prove_nothing(landmark_genes):
    """Ages, say, of a table whose rows are unknown."""
    entrez = [int(gene.entrez) for gene in read_names() if gene.symbols[0] in landmark_genes.symbol]
    given = table(others(20), row_metadata={"age": entrez[:9] + [1] * 11})
    with pytest.raises(DgexError, match="only 9 of the 943 landmarks are recognised"):
        match_genes(PATH, given, landmark_genes)
    assert match_genes(PATH, table(others(20), row_metadata={"age": entrez[:20]}), landmark_genes).found == 20


def test_only_measured_rows_count():
    found = GeneRows("probe set", np.array([0, 1, 2, 3]), np.array([2, 0, 1, 1]))
    values = np.array([[2, 4, 1, 5], [NAN, 4, 1, NAN], [NAN, NAN, NAN, NAN]], np.float32)
    expected = [[3, NAN, 1, 5], [4, NAN, 1, NAN], [NAN] * 4]
    result = average(values, found)
    np.testing.assert_array_equal(result, expected)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(found.absent(np.isnan(values)), np.isnan(expected))


def test_averages_agree_with_pandas():
    random = np.random.default_rng(0)
    values = random.normal(8, 2, (20, 60))
    values[random.random(values.shape) < 0.3] = NAN
    gene = random.integers(15, size=60)
    expected = pd.DataFrame(values).T.groupby(gene).mean().T
    members = [np.flatnonzero(gene == number) for number in expected.columns]
    found = GeneRows("probe set", np.concatenate(members), np.array([len(own) for own in members]))
    np.testing.assert_allclose(average(values, found), expected, rtol=1e-6)
