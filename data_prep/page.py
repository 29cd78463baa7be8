"""An inspection as one HTML page with pictures, which needs no network."""

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
from dgex.data.dataset import HISTOGRAM_EDGES
from dgex.data.normalization import Ties, fit_quantiles, to_quantiles
from dgex.files.atomic import replacing

States = Mapping[str, np.ndarray]  # by title, the profiles looked at closely in a state of normalisation

BEFORE, AFTER, AS_IS = "before normalisation", "after normalisation", "as in the file"
CENTRE = (HISTOGRAM_EDGES[0] + HISTOGRAM_EDGES[-1]) / 2


@dataclass(frozen=True)
class Section:
    """A part of the page."""

    title: str
    text: str  # the picture's caption, where there is one
    svg: bytes | None = None
    table: Sequence[Sequence[str]] = ()  # header first
    lists: Mapping[str, Sequence[str]] = field(default_factory=dict)  # folded in, by what to call them

    @property
    def picture(self) -> str | None:
        return base64.b64encode(self.svg).decode() if self.svg else None


def write_page(path: Path, inspection: Inspection, steps: Steps) -> None:
    """Draws the pictures and writes the page, whole or not at all; the same inspection gives the same bytes.

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
    """The profiles as they are, and where the file has not done that, quantile-normalised onto their own mean."""
    values = inspection.values
    if inspection.prepared:
        return {AFTER: values}
    if inspection.scale == "centred":
        return {AS_IS: values}
    # As preparation does: RNA-seq, with rows named by gene, has its many ties at zero.
    ties: Ties = "quantile" if inspection.naming == "probe sets" else "rank"
    return {BEFORE: values, AFTER: to_quantiles(values, fit_quantiles(values), ties)}


def _sizes(inspection: Inspection) -> dict[str, int]:
    """Profiles in the file by study, the largest first."""
    return dict(Counter(inspection.study.tolist()).most_common())


def _densities(inspection: Inspection, states: States) -> Section:
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
    text = [f"One line a study, n = {n}, {unit} in bins of 0.1."]
    if BEFORE in panels and len(sizes) > 1:
        text.append("Before normalisation, studies differ by laboratory and software as much as by tissue.")
    if inspection.prepared and BEFORE not in panels:
        text.append("The file does not hold the values from before normalisation.")
    if AFTER in panels and inspection.prepared:
        text.append(
            "After it, every profile has the quantiles of the training profiles: but for ties, the lines are one."
        )
    elif AFTER in panels:
        text.append(
            "After it, every profile has the mean quantiles of these profiles and rows, a preview: preparation fits "
            "quantiles to the genes of its training profiles."
        )
    else:
        text.append("Changes from a baseline are not normalised.")
    text.append("A high and narrow peak, as of zeros, is cut off.")
    return Section("Distribution of values by study", " ".join(text), pictures.densities(panels, sizes, unit, offset))


def _counts(values: np.ndarray, study: np.ndarray, offset: float) -> dict[str, np.ndarray]:
    """Counts by study, profile after profile, for ``histograms`` takes ten times the memory of the values."""
    total: dict[str, np.ndarray] = {}
    for profile in range(len(values)):
        one = slice(profile, profile + 1)
        for name, count in histograms(values[one] - offset, study[one]).items():
            total[name] = total.get(name, 0) + count
    return total


def _components(inspection: Inspection, states: States) -> Section:
    title = "Principal components"
    found = {name: pictures.principal_components(values) for name, values in states.items()}
    panels = {name: result for name, result in found.items() if result}
    if not panels:
        return Section(title, "Not drawn: there are fewer than three profiles, or they do not differ.")
    prepared = inspection.prepared
    svg = pictures.components(
        panels,
        inspection.study[inspection.chosen],
        _sizes(inspection),
        prepared.split[inspection.chosen] if prepared else None,
    )
    text = (
        f"One mark a profile, n = {_chosen(inspection)}, coloured by study{', formed by split' if prepared else ''}; "
        "axes in the unit of the values, with their share of the variance. Rows are centred, not scaled; a gap is its "
        "row's mean. Clusters by tissue are biology, a study far from others of its tissue is a batch effect, and a "
        "lone mark may be a failed profile."
    )
    return Section(title, text, svg)


def _gaps(inspection: Inspection, states: States) -> Section:
    title = "Missing genes and gaps"
    if inspection.prepared:
        return _genes_missing(title, inspection.prepared, inspection.facts)
    share = inspection.missing / len(inspection.study)
    order = [row for row in np.argsort(-share, kind="stable") if share[row]]
    if not order:
        return Section(
            title, f"None: each of {len(share)} rows has a value in each of {len(inspection.study)} samples."
        )
    text = (
        f"{len(order)} of {len(share)} rows have gaps, {(share == 1).sum()} of them in all samples, "
        f"n = {len(inspection.study)}. A wide step is a study or platform that lacks these rows. Preparation leaves "
        "out genes that more than half of the training profiles lack, and fills other gaps."
    )
    names = [f"{inspection.row_id[row]} ({share[row]:.1%})" for row in order]
    return Section(title, text, pictures.gaps(share[order]), lists={f"{len(names)} rows with gaps": names})


def _genes_missing(title: str, prepared: Prepared, facts: Mapping[str, str]) -> Section:
    report, reference = prepared.report, prepared.reference
    if not report:
        return Section(title, "The file does not say.")
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
        f"Missing genes are {'filled' if report.missing_are_filled else 'left out'}. "
        f"All gaps of genes in the file: {facts['gaps']}."
    )
    return Section(title, text, table=table, lists=lists)


def _left_out(inspection: Inspection, states: States) -> Section:
    title = "Duplicates and incomplete profiles"
    if not inspection.prepared:
        return Section(
            title, "Not looked for in this file. Prepare it (python -m data_prep prepare) and inspect what comes out."
        )
    report = inspection.prepared.report
    if not report:
        return Section(title, "The file does not say.")
    rule = inspection.prepared.preparation.get("duplicates")
    lists = {
        f"{len(report.duplicates_removed)} duplicates of an earlier profile removed": report.duplicates_removed,
        f"{len(report.incomplete_removed)} profiles removed that lacked too many genes": report.incomplete_removed,
    }
    looked = f"looked for by the rule: {rule}" if rule else "not looked for"
    return Section(title, f"Duplicates were {looked}.", lists=lists)


def _chosen(inspection: Inspection) -> str:
    chosen, samples = len(inspection.chosen), len(inspection.study)
    return f"all {samples} profiles" if chosen == samples else f"{chosen} evenly spaced profiles of {samples}"
