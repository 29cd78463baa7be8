"""Writes an inspection as one HTML page with pictures, which can be opened without a network."""

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from data_prep import pictures
from data_prep.densities import histograms
from data_prep.inspection import Inspection
from data_prep.prepared import Prepared
from data_prep.steps import Steps
from dgex.data.dataset_members import HISTOGRAM_EDGES
from dgex.data.normalization import Ties, fit_quantiles, to_quantiles
from dgex.files.atomic import replacing

States = Mapping[str, np.ndarray]  # by title, the chosen profiles before or after normalisation

BEFORE, AFTER, AS_IS = "before normalisation", "after normalisation", "as in the file"
CENTRE = (HISTOGRAM_EDGES[0] + HISTOGRAM_EDGES[-1]) / 2
NOT_RECORDED = "The file does not record this."


@dataclass(frozen=True)
class Section:
    """Holds a section of the page."""

    title: str
    text: str  # the picture's caption, where there is one
    svg: bytes | None = None
    table: Sequence[Sequence[str]] = ()  # header first
    lists: Mapping[str, Sequence[str]] = field(default_factory=dict)  # collapsed lists, by heading

    @property
    def picture(self) -> str | None:
        """Encodes the picture in base64."""
        return base64.b64encode(self.svg).decode() if self.svg else None


def write_page(path: Path, inspection: Inspection, steps: Steps) -> None:
    """Draws the pictures and writes the page, complete or not at all; the same inspection gives the same bytes.

    Args:
      path: the HTML file to write.
      inspection: of the file that the page is about.
      steps: shows the progress.

    Raises:
      DgexError: the folder cannot be written to, or the disk is full.
    """
    sections = []
    with steps("drawing", 4) as advance:
        states = _states(inspection)
        for section in (_densities, _components, _gaps, _left_out):
            sections.append(section(inspection, states))
            advance(1)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined
    )
    template = environment.get_template("inspection.html.j2")
    page = template.render(title=inspection.name, facts=inspection.facts, sections=sections)
    with replacing(path) as partial:
        partial.write_text(page, encoding="utf-8")


def _states(inspection: Inspection) -> States:
    """Gives the chosen profiles as they are and, for a raw file, quantile-normalised to their mean quantiles."""
    values = inspection.values
    if inspection.prepared:
        return {AFTER: values}
    if inspection.scale == "centred":
        return {AS_IS: values}
    # The ranks are those that preparation uses: RNA-seq, whose rows are named by gene, has many ties at zero.
    ties: Ties = "quantile" if inspection.naming == "probe sets" else "rank"
    return {BEFORE: values, AFTER: to_quantiles(values, fit_quantiles(values), ties)}


def _sizes(inspection: Inspection) -> dict[str, int]:
    """Counts the profiles of each study, the largest study first."""
    return dict(Counter(inspection.study.tolist()).most_common())


def _densities(inspection: Inspection, states: States) -> Section:
    """Draws the distribution of each study's values."""
    offset = -CENTRE if inspection.scale == "centred" else 0.0
    sizes = _sizes(inspection)
    if inspection.prepared:
        panels = {BEFORE: inspection.prepared.before} if inspection.prepared.before else {}
        panels |= {AFTER: inspection.after}
        n = f"all {len(inspection.study)} profiles"
    else:
        panels = {
            title: _counts(values, inspection.study[inspection.chosen], offset) for title, values in states.items()
        }
        n = _chosen(inspection)
    unit = "value as in the file" if inspection.scale == "centred" else "log2 expression"
    text = [f"One line per study, n = {n}, {unit} in bins of 0.1."]
    if BEFORE in panels and len(sizes) > 1:
        text.append("Before normalisation, studies differ by laboratory and software as much as by tissue.")
    if inspection.prepared and BEFORE not in panels:
        text.append("The file does not hold the values from before normalisation.")
    if AFTER in panels and inspection.prepared:
        text.append(
            "After normalisation, every profile has the quantiles of the training profiles, so that the lines differ "
            "only by ties."
        )
    elif AFTER in panels:
        text.append(
            "After normalisation, every profile has the mean quantiles of these profiles and rows. This is a preview: "
            "preparation fits the quantiles to the genes of the training profiles."
        )
    else:
        text.append("Changes from a baseline are not normalised.")
    text.append("High and narrow peaks, such as one of zeros, are cut off.")
    return Section("Distribution of values by study", " ".join(text), pictures.densities(panels, sizes, unit, offset))


def _counts(values: np.ndarray, study: np.ndarray, offset: float) -> dict[str, np.ndarray]:
    """Counts histograms by study, one profile at a time, as ``histograms`` takes ten times the memory of its values."""
    total: dict[str, np.ndarray] = {}
    for profile in range(len(values)):
        one = slice(profile, profile + 1)
        for name, count in histograms(values[one] - offset, study[one]).items():
            total[name] = total.get(name, 0) + count
    return total


def _components(inspection: Inspection, states: States) -> Section:
    """Draws the profiles by their first two principal components."""
    title = "Principal components"
    results = {name: pictures.principal_components(values) for name, values in states.items()}
    panels = {name: result for name, result in results.items() if result}
    if not panels:
        return Section(title, "Not drawn, because there are fewer than three profiles or they do not differ.")
    prepared = inspection.prepared
    svg = pictures.components(
        panels,
        inspection.study[inspection.chosen],
        _sizes(inspection),
        prepared.split[inspection.chosen] if prepared else None,
    )
    text = (
        f"One mark per profile, n = {_chosen(inspection)}. The colour shows the study"
        f"{' and the shape the split' if prepared else ''}. The axes are in the unit of the values and give their "
        "share of the variance. Rows are centred, not scaled; missing values are replaced by the row's mean. Clusters "
        "by tissue are biology, a study far from others of its tissue is a batch effect, and a single distant mark may "
        "be a failed profile."
    )
    return Section(title, text, svg)


def _gaps(inspection: Inspection, states: States) -> Section:
    """Draws the share of missing values by row; of a prepared file, counts the missing genes instead."""
    title = "Missing genes and missing values"
    if inspection.prepared:
        return _genes_missing(title, inspection.prepared, inspection.facts)
    share = inspection.missing / len(inspection.study)
    order = [row for row in np.argsort(-share, kind="stable") if share[row]]
    if not order:
        return Section(
            title, f"None: each of {len(share)} rows has a value in each of {len(inspection.study)} samples."
        )
    text = (
        f"{len(order)} of {len(share)} rows have missing values, {(share == 1).sum()} of them in all samples, "
        f"n = {len(inspection.study)}. A wide step shows rows that a study or platform lacks. Preparation leaves out "
        "genes that more than half of the training profiles lack, and imputes other missing values."
    )
    names = [f"{inspection.row_id[row]} ({share[row]:.1%})" for row in order]
    return Section(title, text, pictures.gaps(share[order]), lists={f"{len(names)} rows with missing values": names})


def _genes_missing(title: str, prepared: Prepared, facts: Mapping[str, str]) -> Section:
    """Counts and lists the genes that the source of a prepared file lacks."""
    report, reference = prepared.report, prepared.reference
    if not report:
        return Section(title, NOT_RECORDED)
    table, lists = [["", "in the gene tables", "missing from the source", "share"]], {}
    for name, genes, missing in (
        ("landmark genes", reference.landmark_genes, report.landmarks_missing),
        ("target genes", reference.target_genes, report.targets_missing),
    ):
        listed = len(genes) + (0 if report.missing_are_filled else len(missing))
        table.append([name, str(listed), str(len(missing)), f"{len(missing) / listed:.2%}"])
        if missing:
            lists[f"{len(missing)} missing {name}"] = missing
    text = (
        f"Missing genes are {'imputed' if report.missing_are_filled else 'left out'}. "
        f"Imputed values in the file: {facts['imputed values']}."
    )
    return Section(title, text, table=table, lists=lists)


def _left_out(inspection: Inspection, states: States) -> Section:
    """Lists the profiles that preparation removed."""
    title = "Duplicates and incomplete profiles"
    if not inspection.prepared:
        return Section(
            title,
            "A raw file is not searched for them. Prepare it (python -m data_prep prepare) and inspect the result.",
        )
    report = inspection.prepared.report
    if not report:
        return Section(title, NOT_RECORDED)
    rule = inspection.prepared.preparation.get("duplicates")
    lists = {
        f"{len(report.duplicates_removed)} duplicates of an earlier profile removed": report.duplicates_removed,
        f"{len(report.incomplete_removed)} profiles removed that lacked too many genes": report.incomplete_removed,
    }
    text = f"searched for with the rule {rule}" if rule else "not searched for"
    return Section(title, f"Duplicates were {text}.", lists=lists)


def _chosen(inspection: Inspection) -> str:
    """Says how many profiles are drawn, and of how many."""
    chosen, samples = len(inspection.chosen), len(inspection.study)
    return f"all {samples} profiles" if chosen == samples else f"{chosen} evenly spaced profiles of {samples}"
