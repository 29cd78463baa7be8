"""Reports what preparation did, as text for the terminal and as a record in the prepared file."""

from dataclasses import dataclass

from dgex.data.dataset import SPLITS
from dgex.data.intensity_scale import SMALL_OFFSET
from dgex.errors import visible

# How values are converted to log2, by their scale.
CONVERTED = {
    "linear": "linear, converted to log2(max(x, 0) + 1)",
    SMALL_OFFSET: f"{SMALL_OFFSET}, converted to log2(x + 1)",
    "counts": "counts, converted to log2(counts per million + 1)",
}


def gap_rule(fitted: str) -> str:
    """Says how missing values are imputed, given the name of the profiles over which the means are computed."""
    return f"filled with the gene's mean over the {fitted} profiles that have it (z-score 0)"


@dataclass(frozen=True)
class Report:
    """Counts what preparation read, removed and imputed.

    ``str`` of it is the text that the command prints; the prepared file keeps it under ``/preparation``.
    """

    kind: str  # of source file
    naming: str  # kind of gene identifier of its rows, a ``Naming`` of ``dgex.data.gene_names``
    scale: str  # of its values: log2, or one of ``CONVERTED``; of several sources joined by "and"
    samples_read: int
    duplicates_removed: tuple[str, ...]  # sample ids
    incomplete_removed: tuple[str, ...]  # sample ids
    split_samples: dict[str, int]
    split_studies: dict[str, int]
    landmarks: int  # genes in the prepared file
    landmarks_missing: tuple[str, ...]  # Ensembl ids
    targets: int
    targets_missing: tuple[str, ...]  # Ensembl ids
    targets_that_are_landmarks: tuple[str, ...]  # Ensembl ids
    gaps_filled: int  # how many missing values were imputed
    genes_with_gaps: int  # in how many genes
    samples_with_gaps: int  # in how many samples
    missing_are_filled: bool  # whether a missing gene is in the prepared file nevertheless, with imputed values
    gaps: str  # how the missing values were imputed
    taken_as_missing: str = ""  # how many of which values of the source; "" in files of versions that did not check
    by_platform: tuple[str, ...] = ()  # the samples of each platform by split, the reference first
    origin: tuple[str, ...] = ()  # what the sample field ``data_origin`` of the sources says
    # On how genes were matched and samples chosen; files of earlier versions have none.
    remarks: tuple[str, ...] = ()

    def __str__(self) -> str:
        samples = sum(self.split_samples.values())
        share = self.gaps_filled / (samples * (self.landmarks + self.targets))
        splits = (
            f"{name} {self.split_samples[name]} ({self.split_studies[name]} studies)"
            for name in SPLITS
            if self.split_samples[name]
        )
        platforms = "".join(f"platform            {line}\n" for line in self.by_platform)
        scale = " and ".join(CONVERTED.get(scale, scale) for scale in self.scale.split(" and "))
        equal = "measured by other probe sets" if "probe set" in self.naming else "each equal to an input"
        missing = "missing and imputed" if self.missing_are_filled else "missing"
        remarks = "".join(f"note                {remark}\n" for remark in self.remarks)
        remarks += "".join(f"origin              {visible(text)}\n" for text in self.origin[:10])
        return (
            f"source              {self.kind}, rows are {self.naming}s, values {scale}\n{remarks}"
            f"taken as missing    {self.taken_as_missing or 'no values'}\n"
            f"samples read        {self.samples_read}\n"
            f"duplicates removed  {listed(self.duplicates_removed)}\n"
            f"incomplete removed  {listed(self.incomplete_removed)}\n"
            f"samples kept        {samples}: {', '.join(splits)}\n"
            f"{platforms}landmark genes      {self.landmarks}, {missing}: {listed(self.landmarks_missing)}\n"
            f"target genes        {self.targets}, {missing}: {listed(self.targets_missing)}\n"
            f"targets also inputs {len(self.targets_that_are_landmarks)}, {equal}\n"
            f"imputed values      {self.gaps_filled} values ({share:.4%}) of {self.genes_with_gaps} genes "
            f"in {self.samples_with_gaps} samples, {self.gaps}"
        )


def listed(names: tuple[str, ...]) -> str:
    """Gives the number of names, and the names themselves if there are at most ten."""
    return f"{len(names)} ({visible(', '.join(names))})" if 0 < len(names) <= 10 else str(len(names))
