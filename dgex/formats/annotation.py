"""Recognises, by their names, the rows and columns of a table that are annotation rather than measurements.

Tables hold gene identifiers, positions and lengths, and lines in which a quantifier counts the reads it could not
assign to a gene; these are numbers, but no measurements of a sample. The output of a quantifier also describes one
sample in several columns, of which one is its profile. Names are compared without case, blanks and punctuation:
EffectiveLength equals effective_length.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dgex.errors import DgexError
from dgex.formats.expression import Expression

# None of these may be a gene symbol, or a table with genes in columns would lose that gene. GC, CPM and STOP are
# symbols, so they are not listed.
ENTREZ = frozenset(
    "entrez entrezgene entrezgeneid entrezgeneids entrezid entrezids geneid locuslink locuslinkid ncbigene ncbigeneid "
    "ncbigeneformerlyentrezgeneid ncbiid prgeneid".split()
)
POSITION = (
    "begin chr chrom chromend chromosome chromosomename chromosomescaffoldname chromstart contig coord coordinate "
    "coordinates end endposition geneend geneendbp genestart genestartbp position reference seqid seqname seqnames "
    "score start startposition strand transcriptend transcriptendbp transcriptionstartsite transcriptionstartsitetss "
    "transcriptstart transcriptstartbp txend txstart"
)
SIZE = (
    "exoncount genelengthbp genelengthkb kb lengthbp lengthkb nexons ntranscripts numexons numtranscripts "
    "transcriptcount transcriptlengthincludingutrsandcds width gccontent genegccontent percentagegenegccontent hgncid "
    "taxid taxonid"
)
# The results of DESeq2, edgeR and limma for each gene, which people keep beside the counts.
TESTED = "adjpval adjpvalue aveexpr basemean fdr lfcse log2fc log2foldchange logcpm logfc padj pval pvalue qval qvalue"
# The uncertainty of a quantifier's values: RSEM, Cufflinks, StringTie, and BeadStudio, which has such a column for each
# sample.
CERTAINTY = (
    "coverage fpkmconfhi fpkmconflo isopct isopctfrompmetpm posteriormeancount posteriorstandarddeviationofcount "
    "pmefpkm pmetpm fpkmcilowerbound fpkmciupperbound fpkmcoefficientofquartilevariation tpmcilowerbound "
    "tpmciupperbound tpmcoefficientofquartilevariation"
)
ENDS = (
    "length",  # of genes, transcripts or exons: effective, merged, median
    *("detectionpval", "detectionpvalue", "beadstderr", "avgnbeads"),  # after the sample's name
)
# Reads that belong to no gene: lines of htseq-count and STAR.
UNASSIGNED = (
    "alignmentnotunique ambiguous nambiguous nmultimapping nnofeature nofeature notaligned nunmapped toolowaqual"
)
ANNOTATION = ENTREZ.union(POSITION.split(), SIZE.split(), TESTED.split(), CERTAINTY.split(), UNASSIGNED.split())

# The columns that quantifiers fill for one sample, the best profile first. Genes are compared by rank within a profile,
# so values per length of transcript come before numbers of reads, which grow with that length.
MEASURES = (
    # tpm: RSEM, Salmon, kallisto, StringTie; the others: STAR as run by the Genomic Data Commons
    *("tpm", "tpmunstranded", "fpkm", "rpkm", "fpkmunstranded", "fpkmuqunstranded"),
    *("expectedcount", "numreads", "estcounts"),  # RSEM, Salmon, kallisto
    *("unstranded", "strandedfirst", "strandedsecond"),  # STAR: the first, whatever the library preparation
    *("count", "counts", "rawcount", "rawcounts", "readcount", "readcounts", "reads"),  # htseq-count and others
)
STAR = ("", "unstranded", "stranded_first", "stranded_second")  # columns of ReadsPerGene.out.tab, which has no header
STAR_BEGINS = "N_unmapped"

# The names of id columns consist of these words alone ("cell line"), or end in one of LABELS ("Hugo_Symbol").
LABELS = "id|ids|identifier|name|names|symbol|symbols|ref|version|key|label|number|no|index|accession|barcode|code"
WORDS = (
    "gene|genes|probe|probes|target|transcript|tracking|feature|features|locus|sample|samples|cell|cells|line|"
    "model|patient|donor|subject|case|participant|individual|experiment|array|well|row|rows|ensembl|entrez|hgnc|hugo|"
    "ncbi|depmap|set|sets"
)
INDEX = re.compile(
    rf"(?i:(?:{WORDS}|{LABELS})(?:\W|_)*)*|(?i:.*[^a-z0-9](?:{LABELS})\W*)|.*[a-z](?:ID|Id|Name|Symbol)"
    r"|Unnamed: 0|[Xx]|\.\.\.1"  # names that pandas, R and readr invent
)
NO_INDEX = frozenset({"IDS", "SET", "NONO"})  # gene symbols that INDEX matches
PUNCTUATION = {code: None for code in range(128) if not chr(code).isalnum() and chr(code) != "\n"}


def annotated(names: Sequence[str]) -> list[int]:
    """Returns the positions in ``names`` of the annotation: lines or columns that hold no measurements of a sample."""
    return [i for i, key in enumerate(_keys(names)) if _is_annotation(key)]


def is_annotation(name: str) -> bool:
    """Returns whether a column or line of this name is annotation and holds no measurements."""
    return bool(annotated([name]))


def describes_genes(name: str) -> bool:
    """Returns whether a metadata column describes genes without identifying them, such as lengths and positions."""
    return is_annotation(name) and _keys([name])[0] not in ENTREZ


def names_index(name: str) -> bool:
    """Returns whether this name is that of a column of ids (Gene, sample_id or empty) and not a gene or sample."""
    return name not in NO_INDEX and INDEX.fullmatch(name.strip("# ")) is not None


def measurements(source: Path | str, names: Sequence[str]) -> list[int]:
    """Returns the positions in ``names`` of the lines or columns that hold measurements of genes or samples.

    These are all except annotation. Where a quantifier fills several columns for one sample, only the best of them is
    taken: see ``MEASURES``.

    Args:
      source: the file, for error messages.
      names: the names of all lines, or of all columns.

    Raises:
      DgexError: none is left, or a quantifier's columns for one sample stand beside columns of other samples.
    """
    keys = _keys(names)
    kept = [i for i, key in enumerate(keys) if not _is_annotation(key)]
    if names and not kept:
        raise DgexError(f"{source}: holds {names[0][:40]!r} and no measurements; add the columns of the samples")
    measures = [i for i in kept if keys[i] in MEASURES]
    if not measures:
        return kept
    best = min(measures, key=lambda i: MEASURES.index(keys[i]))
    if len(measures) < len(kept):
        other = next(names[i] for i in kept if keys[i] not in MEASURES)
        raise DgexError(
            f"{source}: holds {other[:40]!r} beside {names[best]!r}, the values of one sample; keep the ids and "
            f"{names[best]!r} alone"
        )
    return [best]


def measured(path: Path | str, table: Expression) -> Expression:
    """Returns the table without annotation among its rows and samples, and without blanks around their names.

    The sample in the output of a quantifier gets the name of the file.

    Args:
      path: the file the table comes from.
      table: the table as its reader opened it.

    Raises:
      DgexError: as ``measurements``.
    """
    part = table.selected(measurements(path, table.row_id), measurements(path, table.sample_id))
    stem, _, extension = Path(path).name.removesuffix(".gz").rpartition(".")
    kind, named = part.kind, []
    for ids in (part.row_id, part.sample_id):
        if len(ids) == 1 and _keys(ids)[0] in MEASURES:
            kind, ids = f"{kind} ({ids[0]})", (stem or extension,)
        named.append(tuple(name.strip() for name in ids))
    return replace(part, row_id=named[0], sample_id=named[1], kind=kind)


def _keys(names: Sequence[str]) -> list[str]:
    """Converts names to lower case without punctuation; in one pass, since there may be millions."""
    if not names:
        return []
    return "\n".join(name.replace("\n", " ") for name in names).lower().translate(PUNCTUATION).split("\n")


def _is_annotation(key: str) -> bool:
    return key in ANNOTATION or key.endswith(ENDS)
