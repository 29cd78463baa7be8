"""Makes gene tables from the data themselves: landmarks of a table, and all genes that enough studies measure."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from data_prep.blocks import Work, blocks_of
from data_prep.choice import Choice
from data_prep.staging import Staged, stage
from dgex.data.gene_matching import GeneRows, match_genes
from dgex.data.gene_names import names_of, read_names
from dgex.data.genes import Genes, gene_table_paths, read_gene_table, write_gene_table
from dgex.errors import DgexError
from dgex.files.atomic import check_writable
from dgex.formats.archs4 import KIND as ARCHS4
from dgex.formats.opening import open_expression

L1000, ALL = "l1000", "all"
SHOWN = 5  # genes of a list
SHARE = 0.5  # as of the training profiles in ``prepare``
# Of an ARCHS4 file: a few samples each of thousands of studies tell which genes are measured as well as a million do.
SURVEYED = {"samples": 4000, "per_study": 10}


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
    for path in paths:
        folder = check_writable(path, source, *tables)
    landmark = published()[0] if landmarks == L1000 else read_gene_table(Path(landmarks))
    if targets == ALL:
        target, entrez = candidates_of(source, landmark, layer)
    else:
        target = read_gene_table(Path(targets))
        entrez = target.ensembl
    with stage(source, landmark, target, folder, work or Work(), layer, Choice(keep=keep, **SURVEYED)) as staged:
        if keep and staged.kind != ARCHS4:
            raise DgexError(f"{source}: --keep chooses samples of an ARCHS4 file, and this is none; leave it out")
        shares, match, remarks = shares_of(staged), staged.match, staged.remarks
    usual_landmark, usual = np.split((shares >= share) & (shares > 0), [len(landmark)])
    is_input = inputs_among(match.rows, len(landmark))
    further = further_ids(entrez, shares[len(landmark) :])
    rarely = f"are measured in less than {share:.0%} of a study"
    lines = [
        f"left out: {mask.sum():,} {why}, such as {', '.join(genes.symbol[i] for i in np.flatnonzero(mask)[:SHOWN])}"
        for genes, mask, why in (
            (landmark, ~usual_landmark, f"landmarks {rarely}"),
            (target, ~usual, f"other genes {rarely}"),
            (target, usual & is_input, "targets have the same rows as a landmark"),
            (target, usual & further, "rows are further Ensembl ids of these genes"),
        )
        if mask.any()
    ]
    if match.unused:
        lines.append(f"{match.unused:,} rows belong to none of the genes that were looked for")
    chosen = usual_landmark, usual & ~is_input & ~further
    for path, kept in zip(paths, chosen, strict=True):
        if not kept.any():
            raise DgexError(f"{source}: no gene is left for {path.name}; lower --share, or give other tables")
    for path, genes, kept in zip(paths, (landmark, target), chosen, strict=True):
        table = genes.take(np.flatnonzero(kept))
        # Where rows are no probe sets, those of a table are not its rows.
        write_gene_table(path, table if match.naming == "probe set" else replace(table, probes=table.ensembl))
    numbers = [f"{kept.sum():,}" for kept in chosen]
    return "\n".join(
        [f"{output}: {numbers[0]} landmark and {numbers[1]} target genes of {source.name}", *lines, *remarks]
    )


def inputs_among(rows: GeneRows, landmarks: int) -> np.ndarray:
    """Tells which targets are made of the same rows as a landmark: bool [targets].

    Args:
      rows: the rows of the landmarks, and then of the targets.
      landmarks: how many genes are landmarks.
    """
    members = [tuple(part) for part in np.split(rows.members, np.cumsum(rows.count)[:-1])]
    inputs = set(members[:landmarks])
    return np.array([len(part) > 0 and part in inputs for part in members[landmarks:]])


def further_ids(entrez: tuple[str, ...], shares: np.ndarray) -> np.ndarray:
    """Tells which ids are of a gene that another id stands for, the one that is measured most: bool [ids].

    Args:
      entrez: the gene of each id.
      shares: how often each is measured, [ids].
    """
    best: dict[str, int] = {}
    for number in np.argsort(-shares, kind="stable").tolist():
        best.setdefault(entrez[number], number)
    return ~np.isin(np.arange(len(entrez)), list(best.values()))


def published() -> tuple[Genes, Genes]:
    """Gives D-GEX's landmarks and targets, which are those of the model that comes with the package."""
    from dgex.model.directory import load_model  # imports JAX

    reference = load_model().reference
    return reference.landmark_genes, reference.target_genes


def candidates_of(source: Path, landmark: Genes, layer: str | None) -> tuple[Genes, tuple[str, ...]]:
    """Finds the genes of a source that are none of ``landmark``, by the kind of name that finds most.

    Rows may be named by any Ensembl id of a gene. Other names stand for the gene, whose id is then that of D-GEX's
    tables or its first.

    Returns:
      The genes, and the Entrez id of each, since a gene may have several Ensembl ids; the Ensembl id where NCBI knows
      none.

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
    return genes.take(np.array(found)), tuple(identity[position] for position in found)


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
    return shares.round(9)  # so that a gene that all measure has 1, whatever the order of the sum
