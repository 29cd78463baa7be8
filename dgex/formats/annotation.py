"""What stands in tables beside the values of genes in samples, told by its name.

Tables have ids and positions of genes, lengths, and the lines in which a quantifier counts what it could not assign;
numbers, but no measurements of a sample. And what a quantifier says of one sample fills several columns, of which one
is its profile. Names count in any case, without blanks and punctuation: EffectiveLength is effective_length.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dgex.errors import DgexError
from dgex.formats.expression import Expression

# None of these is a gene's symbol, or a table of genes in columns would lose it: GC, CPM and STOP are.
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
# What DESeq2, edgeR and limma say of a gene in all samples, which people keep beside the counts.
TESTED = "adjpval adjpvalue aveexpr basemean fdr lfcse log2fc log2foldchange logcpm logfc padj pval pvalue qval qvalue"
# How sure a quantifier is of its values: of RSEM, Cufflinks, StringTie, and of BeadStudio, which has them a sample.
CERTAINTY = (
    "coverage fpkmconfhi fpkmconflo isopct isopctfrompmetpm posteriormeancount posteriorstandarddeviationofcount "
    "pmefpkm pmetpm fpkmcilowerbound fpkmciupperbound fpkmcoefficientofquartilevariation tpmcilowerbound "
    "tpmciupperbound tpmcoefficientofquartilevariation"
)
ENDS = (
    "length",  # of genes, transcripts, exons, ...: effective, merged, median
    *("detectionpval", "detectionpvalue", "beadstderr", "avgnbeads"),  # after a sample's name
)
# Reads that are no gene's: of htseq-count and STAR.
UNASSIGNED = (
    "alignmentnotunique ambiguous nambiguous nmultimapping nnofeature nofeature notaligned nunmapped toolowaqual"
)
ANNOTATION = ENTREZ.union(POSITION.split(), SIZE.split(), TESTED.split(), CERTAINTY.split(), UNASSIGNED.split())

# The columns that quantifiers fill for one sample, the best profile first. Genes are compared by rank within a profile:
# what is per length of transcript comes before numbers of reads, which grow with it.
MEASURES = (
    # tpm: RSEM, Salmon, kallisto, StringTie; the others: the Genomic Data Commons, of STAR
    *("tpm", "tpmunstranded", "fpkm", "rpkm", "fpkmunstranded", "fpkmuqunstranded"),
    *("expectedcount", "numreads", "estcounts"),  # RSEM, Salmon, kallisto
    *("unstranded", "strandedfirst", "strandedsecond"),  # STAR: the first whatever the library
    *("count", "counts", "rawcount", "rawcounts", "readcount", "readcounts", "reads"),  # htseq-count, and by hand
)
STAR = ("", "unstranded", "stranded_first", "stranded_second")  # columns of ReadsPerGene.out.tab, which names none
STAR_BEGINS = "N_unmapped"

# What columns of ids are called: by these words alone, as cell line, or by one of LABELS behind others: Hugo_Symbol.
LABELS = "id|ids|identifier|name|names|symbol|symbols|ref|version|key|label|number|no|index|accession|barcode|code"
WORDS = (
    "gene|genes|probe|probes|target|transcript|tracking|feature|features|locus|sample|samples|cell|cells|line|"
    "model|patient|donor|subject|case|participant|individual|experiment|array|well|row|rows|ensembl|entrez|hgnc|hugo|"
    "ncbi|depmap|set|sets"
)
INDEX = re.compile(
    rf"(?i:(?:{WORDS}|{LABELS})(?:\W|_)*)*|(?i:.*[^a-z0-9](?:{LABELS})\W*)|.*[a-z](?:ID|Id|Name|Symbol)"
    r"|Unnamed: 0|[Xx]|\.\.\.1"  # as pandas, R and readr make up
)
NO_INDEX = frozenset({"IDS", "SET", "NONO"})  # genes
PUNCTUATION = {code: None for code in range(128) if not chr(code).isalnum() and chr(code) != "\n"}


def annotated(names: Sequence[str]) -> list[int]:
    """Finds the positions among ``names`` of columns or lines that hold no measurements, if perhaps numbers."""
    return [i for i, key in enumerate(_keys(names)) if _is_annotation(key)]


def is_annotation(name: str) -> bool:
    """Tells whether a column or line of this name holds no measurements."""
    return bool(annotated([name]))


def describes_genes(name: str) -> bool:
    """Tells whether metadata of this name are lengths, positions and other numbers that no gene goes by."""
    return is_annotation(name) and _keys([name])[0] not in ENTREZ


def names_index(name: str) -> bool:
    """Tells whether people call a column of ids so, rather than a gene or a sample: Gene, sample_id, nothing at all."""
    return name not in NO_INDEX and INDEX.fullmatch(name.strip("# ")) is not None


def measurements(source: Path | str, names: Sequence[str]) -> list[int]:
    """Finds the positions among ``names`` of lines or columns that are genes or samples.

    These are all but annotation; where a quantifier fills several for one sample, the best: see ``MEASURES``.

    Raises:
      DgexError: none is left, or what is one sample's stands beside others.
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


def measured(path: Path, table: Expression) -> Expression:
    """Leaves annotation out of a table's rows and samples, and blanks around their names.

    A quantifier's sample is named after the file.

    Raises:
      DgexError: as ``measurements``.
    """
    part = table.selected(measurements(path, table.row_id), measurements(path, table.sample_id))
    stem, _, extension = path.name.removesuffix(".gz").rpartition(".")
    kind, named = part.kind, []
    for ids in (part.row_id, part.sample_id):
        if len(ids) == 1 and _keys(ids)[0] in MEASURES:
            kind, ids = f"{kind} ({ids[0]})", (stem or extension,)
        named.append(tuple(name.strip() for name in ids))
    return replace(part, row_id=named[0], sample_id=named[1], kind=kind)


def _keys(names: Sequence[str]) -> list[str]:
    """The names in lower case without punctuation; all at once, since there may be millions."""
    if not names:
        return []
    return "\n".join(name.replace("\n", " ") for name in names).lower().translate(PUNCTUATION).split("\n")


def _is_annotation(key: str) -> bool:
    return key in ANNOTATION or key.endswith(ENDS)
