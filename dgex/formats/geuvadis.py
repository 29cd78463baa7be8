"""Reads the GEUVADIS table: gene RPKM of RNA-seq of 1000 Genomes cell lines (E-GEUV-1), on which D-GEX was tested.

``GD462.GeneQuantRPKM.50FN.samplename.resk10.txt``: TargetID (versioned Ensembl id), Gene_Symbol, Chr, Coord, samples.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from dgex.errors import DgexError
from dgex.formats.expression import Expression, plain_ids, text_column, unique_ids
from dgex.formats.text_reading import leading_fields, metadata_column, read_lines, value_blocks

FIELDS = ("TargetID", "Gene_Symbol", "Chr", "Coord")


@contextmanager
def open_geuvadis(path: Path) -> Iterator[Expression]:
    """Opens a GEUVADIS table, plain or gzipped; the values are linear RPKM, the row ids versioned Ensembl ids.

    Raises:
      DgexError: the file is missing, truncated or of another form; it is empty, has lines of different lengths or
        a sample twice; from ``blocks``: a value is not a number.
    """
    with closing(read_lines(path)) as lines:
        header = next(lines, (1, ""))[1].split("\t")
        fields, sample_id = header[: len(FIELDS)], header[len(FIELDS) :]
        if tuple(fields) != FIELDS:
            raise DgexError(f"{path}: is not a GEUVADIS table, whose header begins with {', '.join(FIELDS)}")
        body = [(number, leading_fields(path, number, line, len(FIELDS), len(header))) for number, line in lines]
    if not body or not sample_id:
        raise DgexError(f"{path}: has {len(body)} rows of {len(sample_id)} samples, is empty; fetch it again")
    row_id, symbol, chromosome, coordinate = zip(*(row for _, row in body), strict=True)
    yield Expression(
        plain_ids(row_id),
        unique_ids(path, "sample", plain_ids(sample_id)),
        value_blocks(path, body[0][0], len(FIELDS), len(sample_id), len(body)),
        {
            "Gene_Symbol": text_column(symbol),
            "Chr": text_column(chromosome),  # a name, even though most chromosomes are numbers
            "Coord": metadata_column(coordinate),
        },
        kind="GEUVADIS table",
    )
