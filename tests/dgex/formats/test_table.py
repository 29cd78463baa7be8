"""CSV and TSV: what spreadsheets, pandas and R write, what is written here, and tables that are wrong."""

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dgex.formats.expression import Expression, in_memory
from dgex.formats.opening import open_expression
from dgex.formats.table import open_table, write_table

NAN = np.nan
VALUES = np.array([[1.5, NAN], [2, -0.03]], np.float32)  # two samples, two genes
CSV = "id,s1,s2\ng1,1.5,2\ng2,NA,-3e-2\n"


@pytest.fixture
def table(tmp_path):
    """Writes text to a file, which it opens and reads."""

    def read(text: str | bytes) -> tuple[Expression, np.ndarray]:
        path = tmp_path / "some.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        with open_table(path) as found:
            return found, found.load()

    return read


@pytest.mark.parametrize(
    ("ending", "lines"),
    [
        ("csv", ["id,s1,s2,symbol", "g1,1.5,2,A,,", "g2,NA,-3,B", "g3,3,4,C,,"]),
        ("gct", ["#1.3", "3\t2\t1\t0", "id\tsymbol\ts1\ts2", "g1\tA\t1.5\t2\t\t", "g2\tB\tNA\t-3", "g3\tC\t3\t4\t\t"]),
    ],
)
def test_a_full_line_among_some_filled_up_with_empty_fields(tmp_path, ending, lines):
    """A block is a line here, in which a value too few could be broadcast to others."""
    path = tmp_path / f"some.{ending}"
    path.write_text("\n".join(lines))
    with open_expression(path) as expression:
        blocks = [values[:, 0].tolist() for _, _, values in expression.blocks(1)]
        assert expression.row_metadata["symbol"].tolist() == ["A", "B", "C"]
    np.testing.assert_array_equal(blocks, [[1.5, 2], [NAN, -3], [3, 4]])


@pytest.mark.parametrize(
    "text",
    [
        CSV,
        CSV.replace(",", "\t"),
        CSV.replace("\n", "\r\n"),
        "\ufeff" + CSV,
        CSV.removesuffix("\n"),
        CSV.replace("id,", ","),
        '"id","s1","s2"\n"g1","1.5","2"\n"g2",NA,-3e-2\n',
        gzip.compress(CSV.encode(), mtime=0),
        CSV.removeprefix("id,").replace(",", "\t"),  # R's write.table
        CSV.replace("NA", ""),
        CSV.replace("\n", "\r"),
        CSV.replace("\n", "\r").removesuffix("\r") + "\n",
        CSV.replace("\n", ",\n"),  # a separator ends every line
        CSV.replace("\n", ",,\n").replace(",", "\t"),
        CSV.replace("2\n", "2,\n"),  # every line but the header
        CSV.replace("s2\n", "s2,\n"),  # the header alone
        CSV.replace("-2\n", "-2,,\n"),  # Excel fills lines up in groups of sixteen
        CSV.replace("1.5,2\n", "1.5,2,\n"),
        CSV + ",,\n, ,\n\n",  # as spreadsheets leave behind
        CSV.replace("g1", " g1 ").replace("s1", "s1 ").replace("id", " "),
        "# made by hand, on a Monday\n#\n" + CSV,
        "# made by hand, on Monday, or so\n" + CSV,
        "#" + CSV,
        "s1,s2\ng1,1.5,2\ng2,NA,-3e-2\n",  # R's, with commas
    ],
)
def test_one_table_in_many_forms(table, text):
    found, values = table(text)
    assert found.kind == "table" and not found.row_metadata
    assert found.row_id == ("g1", "g2") and found.sample_id == ("s1", "s2")
    np.testing.assert_array_equal(values, VALUES, strict=True)


def test_a_header_one_name_short_is_as_r_writes_it(table):
    found, values = table('"s1","s2","s3"\n"g1",1,2,3\n"g2",4,5,6\n')
    assert found.row_id == ("g1", "g2") and found.sample_id == ("s1", "s2", "s3")
    assert values.T.tolist() == [[1, 2, 3], [4, 5, 6]]


def test_columns_of_text_before_the_numbers_are_metadata(table):
    found, values = table('id,symbol,title,s1\n1_at,A,"a, or ""b""",1\n2_at,,c,2\n')
    assert found.sample_id == ("s1",) and values.tolist() == [[1, 2]]
    assert found.row_metadata["symbol"].tolist() == ["A", ""]
    assert found.row_metadata["title"].tolist() == ['a, or "b"', "c"]


@pytest.mark.parametrize("name", ["Entrez", "ENTREZ_ID", "EntrezGene", "entrez_gene_id", "pr_gene_id", "gene_id"])
def test_entrez_ids_are_metadata_though_they_are_numbers(table, name):
    found, values = table(f"id\t{name}\tsymbol\ts1\n1_at\t780\tA\t1\n2_at\t\tB\t2\n")
    assert found.sample_id == ("s1",) and values.tolist() == [[1, 2]]
    np.testing.assert_array_equal(found.row_metadata[name], [780, NAN])
    assert found.row_metadata["symbol"].tolist() == ["A", "B"]


def test_other_numbers_are_values_even_where_the_first_are_missing_or_damaged(table, refused):
    found, values = table("id,s1,s2\na,,1\nb,,2\n")
    assert found.sample_id == ("s1", "s2")
    np.testing.assert_array_equal(values, [[NAN, NAN], [1, 2]])
    assert "line 2 holds 'x' among its values" in refused(lambda: table("id,s1,s2\na,x,1\nb,1,2\nc,2,3\n"))


@pytest.mark.parametrize("ids", ["5720.0,7157.0", "7157,5720", "1,2"])
def test_names_of_columns_may_be_numbers_under_the_name_of_an_index(table, ids):
    for first in ("sample", "", "DepMap_ID"):
        found, values = table(f"{first},{ids}\na,1,2\nb,3,4\n")
        assert found.row_id == ("a", "b") and found.sample_id == tuple(ids.split(","))
        assert values.tolist() == [[1, 3], [2, 4]]


def test_text_and_annotation_behind_the_numbers_are_metadata(table):
    found, values = table('id,s1,s2,title,Length,\na,1,2,"x, y",7,\nb,3,,z,8,\n')
    assert found.sample_id == ("s1", "s2")
    np.testing.assert_array_equal(values, [[1, 3], [2, NAN]])
    assert found.row_metadata["title"].tolist() == ["x, y", "z"] and found.row_metadata["Length"].tolist() == [7, 8]


@pytest.mark.parametrize("empty", [("", ",,"), (",", ""), ("", " ,"), (",,", ",")])
def test_metadata_behind_the_numbers_stay_so_in_lines_filled_up_unevenly(table, empty):
    found, values = table(f"id,s1,s2,symbol,Length\na,1,2,A,300{empty[0]}\nb,3,4,B,500{empty[1]}\n")
    assert found.sample_id == ("s1", "s2") and values.T.tolist() == [[1, 2], [3, 4]]
    assert {name: column.tolist() for name, column in found.row_metadata.items()} == {
        "symbol": ["A", "B"],
        "Length": [300, 500],
    }


def test_genes_without_a_name_at_the_end_are_there(table):
    found, values = table("sample,TP53,,\ns1,1,2,3\ns2,4,5,6\n")
    assert found.sample_id == ("TP53", "", "") and values.T.tolist() == [[1, 2, 3], [4, 5, 6]]


def test_lines_of_annotation_are_metadata_of_the_samples(table):
    found, values = table("id,a,b\nEntrez_ID,7157,5720\ns1,1,2\nChr,X;X,7\ns2,3,4\n")
    assert found.row_id == ("s1", "s2") and values.T.tolist() == [[1, 2], [3, 4]]
    assert found.sample_metadata["Entrez_ID"].tolist() == [7157, 5720]
    assert found.sample_metadata["Chr"].tolist() == ["X;X", "7"]


def test_an_escape_sequence_in_a_name_is_no_other_format(tmp_path):
    (tmp_path / "some.csv").write_text("id,\x1b[31ms1\x1b[0m,s2\ng1,1.5,2\n")
    with open_expression(tmp_path / "some.csv") as found:
        assert found.sample_id == ("\x1b[31ms1\x1b[0m", "s2")


def test_a_tab_within_a_quoted_field_is_a_space(table):
    found, _ = table('id,title,s1\na,"one\ttwo",1\nb\tc,three\tfour,2\n')
    assert found.row_metadata["title"].tolist() == ["one two", "three four"] and found.row_id == ("a", "b c")


@pytest.mark.parametrize("most", [1, 3, 100])
def test_blocks_are_lines(tmp_path, most):
    path = tmp_path / "some.csv"
    path.write_text("id,s1,s2\n" + "".join(f'"g{i}",{i},"{10 * i}"\n' for i in range(5)))
    with open_table(path) as found:
        for samples, rows, values in found.blocks(most):
            assert samples == slice(0, 2) and values.size <= max(2, most)
            genes = np.arange(rows.start, rows.stop)
            np.testing.assert_array_equal(values, [genes, 10 * genes])


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("id;s1;s2\ng1;1,5;2\n", "is separated by semicolons; save it with commas or tabs"),
        ("id,s1\ng1,1,5\n", "line 1 names 2 columns and line 2 has 3 fields; write decimals with a point"),
        ("id,s1,s2\ng1,1,5,2,5\n", "line 1 names 3 columns and line 2 has 5 fields; write decimals with a point"),
        ("id\ts1\ts2\ng1\t1,5\t2,5\n", "line 2 holds '1,5' among its values; write decimals with a point"),
        ('id,s1\ng1,"1,5"\n', "line 2 holds '1,5' among its values; write decimals with a point"),
        ("s1,s2,\na,1.5,2.5\n", "line 1 names 2 columns and line 2 has 3 fields; give every column a name"),
        ("gene,s1\na,1.5,2.5\n", "line 1 names 2 columns and line 2 has 3 fields; give every column a name"),
        (",s1,s2\na,1,2,3\n", "line 1 names 3 columns and line 2 has 4 fields"),
        ("s1,s2\na,1,2,3\n", "line 1 names 2 columns and line 2 has 4 fields"),
        ("s1,s2\na,1,\nb,2,\n", "line 2 has 3 fields, the last of them empty; name the first column too, such as id"),
        ("id,s1\n" + 30 * "a,1,\n" + "b,1,2\n", "line 32 has 3 fields where 2 belong"),
        ("GAPDH,7,NA\nACTB,1,2\n", "begins with numbers, such as 'NA'; name the columns in the first line"),
        ("ENSG1,12,3\nENSG2,1,2\n", "begins with numbers, such as '3'; name the columns in the first line"),
        (
            "TP53,MYC,ATF1\n1.5,2,3\n",
            "its first column, 'TP53', holds numbers, such as 1.5; put a column of ids before",
        ),
        ("id,s1,s2\n", "has no line below its first, is empty"),
        ("id,gene\na,b\nc,d\n", "holds text, such as 'b', and no column of numbers"),
        ("one\ntwo\n", "has one column only"),
        ("id,s1,s2\na,1,2\nb,1\n", "line 3 has 2 fields where 3 belong"),
        ("id,s1,s2\na,1,2,3,4,5\n", "line 1 names 3 columns and line 2 has 6 fields; give every column a name"),
        ("g1,1.5,2.5\ng2,3,4\n", "begins with numbers, such as '2.5'; name the columns in the first line"),
        ('id,s1\n"a,1\n', "line 2 cannot be split into fields (unexpected end of data); check its quotes"),
        ('id,title,s1\na,"one\ntwo",1\n', "line 2 cannot be split"),
        ("id,s1\na,inf\n", "line 2 holds an infinite value"),
        ("id,s1\na,1\n<html>\n", "goes on as a web page from line 3"),
        ("\ufeff", "has one column only"),
    ],
)
def test_wrong_tables_are_refused(table, tmp_path, refused, text, complaint):
    line = refused(lambda: table(text))
    assert str(tmp_path / "some.csv") in line and complaint in line


@pytest.fixture
def expression() -> Expression:
    return in_memory(
        np.array([[0.1, NAN, 1e-30], [16777216, -3.4e38, 2]], np.float32),
        ("g1", "g2", "g3"),
        ("s,1", 's"2'),
        {"symbol": np.array(["A", "", "C\nD"]), "mae": np.array([0.25, NAN, 1]), "ok": np.array([True, False, True])},
        {"dose": np.array([1, 10])},
    )


def unpacked(path: Path) -> str:
    content = path.read_bytes()
    return (gzip.decompress(content) if path.suffix == ".gz" else content).decode()


@pytest.mark.parametrize("extension", ["csv", "csv.gz", "tsv", "tsv.gz"])
def test_written_is_a_gene_a_line_with_companions(tmp_path, expression, extension):
    write_table(tmp_path / f"a.{extension}", expression)
    assert {path.name for path in tmp_path.iterdir()} == {f"a{part}.{extension}" for part in ("", ".genes", ".samples")}
    mark = "\t" if "tsv" in extension else ","
    first = '"s,1"' if mark == "," else "s,1"
    expected = [["id", first, '"s""2"'], ["g1", "0.1", "1.6777216e+07"], ["g2", "", "-3.4e+38"], ["g3", "1e-30", "2.0"]]
    assert unpacked(tmp_path / f"a.{extension}") == "".join(mark.join(line) + "\n" for line in expected)
    genes = [["id", "symbol", "mae", "ok"], ["g1", "A", "0.25", "True"], ["g2", "", "", "False"]]
    genes.append(["g3", "C D", "1.0", "True"])
    assert unpacked(tmp_path / f"a.genes.{extension}") == "".join(mark.join(line) + "\n" for line in genes)
    assert unpacked(tmp_path / f"a.samples.{extension}") == f'id{mark}dose\n{first}{mark}1\n"s""2"{mark}10\n'


def test_no_metadata_no_companions(tmp_path):
    write_table(tmp_path / "a.csv", in_memory(VALUES, "ab", "xy"))
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]
    assert pd.read_csv(tmp_path / "a.csv", index_col=0).to_dict("list")["x"][0] == 1.5


def test_texts_of_numbers_are_exact_and_short(tmp_path):
    bits = np.random.default_rng(0).integers(0, 2**32, 20000, np.uint32).view(np.float32)
    values = bits[np.isfinite(bits)].reshape(1, -1)
    write_table(tmp_path / "a.csv", in_memory(values, [f"g{i}" for i in range(values.size)], "s"))
    with open_table(tmp_path / "a.csv") as found:
        np.testing.assert_array_equal(found.load(), values)
    texts = [line.split(",")[1] for line in (tmp_path / "a.csv").read_text().splitlines()[1:]]
    assert max(map(len, texts)) <= len("-1.23456789e-38")  # nine digits tell any two apart


def test_equal_tables_are_equal_bytes_at_any_time(tmp_path, expression, monkeypatch):
    write_table(tmp_path / "a.csv.gz", expression)
    monkeypatch.setattr("time.time", lambda: 2e9)
    write_table(tmp_path / "b.csv.gz", expression)
    for axis in ("", ".genes", ".samples"):
        assert (tmp_path / f"a{axis}.csv.gz").read_bytes() == (tmp_path / f"b{axis}.csv.gz").read_bytes()


LAYOUTS = 400
ANNOTATION = {
    "Length": ["7", "8", "9"],
    "Chr": ["1", "X", "2"],
    "NCBI gene ID": ["7157", "", "5720.0"],
    "Strand": list("+-+"),
}


@pytest.mark.parametrize("start", range(0, LAYOUTS, 100))
def test_any_layout_gives_the_same_values(tmp_path, start):
    """Varies separators, quotes, line ends, comments, R's header, what follows the last field, and annotation."""
    path = tmp_path / "some.txt"
    for number in range(start, start + 100):
        dice = np.random.default_rng(number)
        samples = ["s1", "s2", "s3", "s4"][: dice.integers(1, 5)]
        values = dice.choice([0, 7, 12, 1.5, 0.03, NAN], (3, len(samples)))
        values[dice.integers(3)] = 2.5  # something in every column
        columns = {
            name: ["" if x != x else f"{x:g}" for x in column] for name, column in zip(samples, values.T, strict=True)
        }
        asides = [name for name in ANNOTATION if dice.random() < 0.3]
        order = dice.permutation([*columns, *asides]).tolist()
        text = [name for name in asides if name in ("Chr", "Strand")]  # which may not stand between numbers
        order = [*text, *(name for name in order if name not in text)]
        rows = [[name, *(({**columns, **ANNOTATION})[field][row] for field in order)] for row, name in enumerate("abc")]
        header = [str(dice.choice(["id", "", "Gene Symbol", "sample_id"])), *order]
        mark = str(dice.choice([",", "\t"]))
        r_like = order[0] in columns and dice.random() < 0.3 and (mark == "\t" or len(order) > 2)
        if r_like:
            header = header[1:]
        ending_of_lines = "" if r_like else mark * int(dice.choice([0, 0, 1, 2]))
        ending_of_header = ending_of_lines if dice.random() < 0.5 else ""
        quote = '"' if dice.random() < 0.3 else ""
        lines = [mark.join(f"{quote}{cell}{quote}" for cell in row) for row in (header, *rows)]
        lines = [lines[0] + ending_of_header, *(line + ending_of_lines for line in lines[1:])]
        lines += ["", mark * len(order)][: dice.integers(3)]
        lines = ["# a comment", *lines] if dice.random() < 0.3 else lines
        end = str(dice.choice(["\n", "\r\n", "\r"]))
        content = (end.join(lines) + end * int(dice.integers(2))).encode()
        path.write_bytes(gzip.compress(content, mtime=0) if dice.random() < 0.3 else content)
        with open_expression(path) as found:
            assert found.row_id == ("a", "b", "c"), number
            assert list(found.sample_id) == [name for name in order if name in columns], number
            np.testing.assert_array_equal(
                found.load().T,
                values[:, [samples.index(name) for name in found.sample_id]].astype(np.float32),
                str(number),
            )
