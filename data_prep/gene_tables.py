"""Makes gene tables from the data themselves: landmarks of a table, and all genes that enough studies measure."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from data_prep.blocks import Work, blocks_of
from data_prep.choice import Choice
from data_prep.staging import Staged, stage
from dgex.data.gene_matching import match_genes
from dgex.data.gene_names import names_of, read_names
from dgex.data.genes import Genes, gene_table_paths, read_gene_table, write_gene_table
from dgex.errors import DgexError
from dgex.files.atomic import check_writable
from dgex.formats.archs4 import KIND as ARCHS4
from dgex.formats.opening import open_expression

L1000, ALL = "l1000", "all"
SHARE = 0.5  # as of the training profiles in ``prepare``
# Of an ARCHS4 file: a few samples each of thousands of studies tell which genes are measured as well as a million do.
SURVEYED = {"samples": 4000, "per_study": 10}


@dataclass(frozen=True)
class Candidates:
    """Holds the genes that a source may have, and which gene of NCBI's each is: a gene may have several Ensembl ids."""

    genes: Genes
    entrez: tuple[str, ...]  # the Ensembl id where NCBI knows no gene


def make_gene_tables(
    source: Path,
    output: Path,
    landmarks: str = L1000,
    targets: str = ALL,
    share: float = SHARE,
    work: Work | None = None,
    layer: str | None = None,
    keep: str = "",
) -> str:
    """Writes a landmark and a target table of the genes that the studies of a source measure.

    A profile measures a gene where it has a value, and, unless rows are probe sets, one above zero: a gene without
    reads is silent or out of reach. A gene is kept if the studies measure it in ``share`` of their profiles, on the
    average over studies, so that each counts alike; where no studies are named, each profile does. A target that is
    made of the same rows as a landmark would equal an input, and is left out.

    Args:
      source: an expression table.
      output: the folder for map_lm.txt and map_tg.txt.
      landmarks: the path of a gene table, or "l1000" for D-GEX's 943.
      targets: the path of a gene table, or "all" for all other genes of the source: those that NCBI Gene knows, or,
        where rows are probe sets, those whose probe sets D-GEX's tables name.
      share: from 0 to 1.
      work: resources to use, and the progress display.
      layer: of an h5ad source, the matrix to read instead of X.
      keep: of an ARCHS4 file, conditions on the samples; see ``Choice``.

    Returns:
      What the command prints: how many genes there are, and what was left out.

    Raises:
      DgexError: the source or a table is unusable (see ``stage`` and ``read_gene_table``), or no landmark or no target
        is left.
    """
    paths = gene_table_paths(output)
    tables = [Path(name) for name, word in ((landmarks, L1000), (targets, ALL)) if name != word]
    folder = [check_writable(path, source, *tables) for path in paths][0]
    landmark = published()[0] if landmarks == L1000 else read_gene_table(Path(landmarks))
    if targets == ALL:
        candidates = candidates_of(source, landmark, layer)
    else:
        table = read_gene_table(Path(targets))
        candidates = Candidates(table, table.ensembl)
    target = candidates.genes
    choice = Choice(keep=keep, **SURVEYED)
    with stage(source, landmark, target, folder, work or Work(), layer, choice) as staged:
        if keep and staged.kind != ARCHS4:
            raise DgexError(f"{source}: --keep chooses samples of an ARCHS4 file, and this is none; leave it out")
        shares = shares_of(staged)
        rows = np.split(staged.match.rows.members, np.cumsum(staged.match.rows.count)[:-1])
        remarks, unused, probes = staged.remarks, staged.match.unused, staged.match.naming == "probe set"
    of_landmark, of_target = np.split(shares, [len(landmark)])
    inputs = {tuple(members) for members in rows[: len(landmark)]}
    is_input = np.array([len(members) > 0 and tuple(members) in inputs for members in rows[len(landmark) :]])
    best: dict[str, int] = {}  # of several ids of one gene, that which is measured most often
    for number in np.argsort(-of_target, kind="stable"):
        best.setdefault(candidates.entrez[number], int(number))
    other_id = ~np.isin(np.arange(len(target)), list(best.values()))
    kept = [of_landmark >= share, (of_target >= share) & ~is_input & ~other_id]
    lines = [f"{output}: {kept[0].sum():,} landmark and {kept[1].sum():,} target genes of {source.name}"]
    reasons = [
        (of_landmark < share, landmark, f"landmarks are measured in less than {share:.0%} of a study"),
        (of_target < share, target, f"other genes are measured in less than {share:.0%} of a study"),
        (is_input & (of_target >= share), target, "targets have the same rows as a landmark"),
        (other_id & (of_target >= share), target, "rows are further Ensembl ids of these genes"),
    ]
    for left_out, genes, why in reasons:
        if left_out.any():
            some = ", ".join(genes.symbol[number] for number in np.flatnonzero(left_out)[:5])
            lines.append(f"left out: {left_out.sum():,} {why}, such as {some}")
    if unused:
        lines.append(f"{unused:,} rows belong to none of the genes that were looked for")
    for path, chosen in zip(paths, kept, strict=True):
        if not chosen.any():
            raise DgexError(f"{source}: no gene is left for {path.name}; lower --share, or give other tables")
    for path, genes, chosen in zip(paths, (landmark, target), kept, strict=True):
        table = genes.take(np.flatnonzero(chosen))
        write_gene_table(path, table if probes else replace(table, probes=table.ensembl))
    return "\n".join([*lines, *remarks])


def published() -> tuple[Genes, Genes]:
    """Gives D-GEX's landmarks and targets, which are those of the model that comes with the package."""
    from dgex.model.directory import load_model  # imports JAX

    reference = load_model().reference
    return reference.landmark_genes, reference.target_genes


def candidates_of(source: Path, landmark: Genes, layer: str | None) -> Candidates:
    """Finds the genes of a source that are none of ``landmark``, by the kind of name that finds most.

    Rows may be named by any Ensembl id of a gene. Other names stand for the gene, whose id is then that of D-GEX's
    tables or its first.

    Raises:
      DgexError: as ``open_expression`` and ``match_genes``.
    """
    published_genes = [gene for table in published() for gene in zip(*vars(table).values(), strict=True)]
    by_probes = dict((ensembl, (symbol, probes)) for ensembl, symbol, probes in reversed(published_genes))
    by_gene: dict[str, tuple[str, str]] = {}
    entrez: dict[str, str] = {}
    for gene in read_names():
        usual = next((name for name in gene.ensembl if name in by_probes), gene.ensembl[0])
        by_gene.setdefault(usual, (gene.symbols[0], usual))
        entrez.setdefault(usual, gene.entrez)
    by_id = dict(by_gene)  # an id that several genes share is that of the gene that has no other
    for gene in read_names():
        for name in gene.ensembl:
            by_id.setdefault(name, (gene.symbols[0], name))
            entrez.setdefault(name, gene.entrez)
    tables = [
        Genes(tuple(table), *map(tuple, zip(*table.values(), strict=True))) for table in (by_id, by_gene, by_probes)
    ]
    with open_expression(source, layer, lambda fields: np.arange(1)) as expression:
        match = match_genes(str(source), expression, *tables, called="human genes")
    number = {"Ensembl id": 0, "probe set": 2}.get(match.naming, 1)
    count = np.split(match.rows.count, np.cumsum([len(table) for table in tables])[:-1])[number]
    genes = tables[number]
    taken = {gene.entrez for gene in names_of(landmark) if gene} | set(landmark.ensembl)
    identity = [entrez.get(name, name) for name in genes.ensembl]
    found = [
        position
        for position, (name, gene) in enumerate(zip(genes.ensembl, identity, strict=True))
        if count[position] and name not in taken and gene not in taken
    ]
    if not found:
        raise DgexError(f"{source}: has no gene but the landmarks; give --targets FILE, a gene table")
    return Candidates(genes.take(np.array(found)), tuple(identity[position] for position in found))


def shares_of(staged: Staged) -> np.ndarray:
    """Computes in which share of its profiles the average study measures each gene: float64 [genes].

    Profiles without a study count as one each, those of too few reads not at all.
    """
    profiles = np.flatnonzero(~staged.shallow)
    names = [staged.study[profile] or staged.sample_id[profile] for profile in profiles]
    _, of, size = np.unique(names, return_inverse=True, return_counts=True)
    weight = 1 / (len(size) * size[of])
    least = -np.inf if staged.match.naming == "probe set" else 0
    shares = np.zeros(len(staged.match.rows.count))
    for positions in blocks_of(np.arange(len(profiles))):
        shares += weight[positions] @ (staged.genes(profiles[positions]) > least)
    return shares
