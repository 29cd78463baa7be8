"""Prepares an expression table as one would with cmapPy, pandas and qnorm: parsed, averaged by gene, normalised.

python -m benchmarks.cmap_preparation source.gctx genes/ output.pickle
"""

import sys
from pathlib import Path

from dgex.data.genes import read_gene_tables


def prepare(source: Path, genes: Path, output: Path) -> None:
    """Writes a table of the averages of each gene's probe sets, quantile-normalised over all profiles.

    Args:
      source: a GCTX file whose rows are probe sets.
      genes: the folder of the gene tables.
      output: the pickled DataFrame to write, with a row for each landmark and each target; cmapPy cannot write with
        NumPy 2.
    """
    import qnorm
    from cmapPy.pandasGEXpress.parse import parse

    gene_of = {
        probe: f"{kind} {ensembl}"  # some genes are a landmark and a target, by other probe sets
        for kind, table in zip(("landmark", "target"), read_gene_tables(genes), strict=True)
        for ensembl, probes in zip(table.ensembl, table.probes, strict=True)
        for probe in probes.split(",")
    }
    values = parse(str(source)).data_df
    averages = values.groupby(values.index.map(gene_of)).mean()
    qnorm.quantile_normalize(averages, axis=1).to_pickle(output)


if __name__ == "__main__":
    prepare(*map(Path, sys.argv[1:]))
