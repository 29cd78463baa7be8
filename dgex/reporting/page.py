"""Composes the report of a prediction: words, tables and pictures in one HTML file that needs no network."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from dgex.errors import visible
from dgex.model import Model
from dgex.model.prediction import Prediction
from dgex.model.reliability import LEAST_PEARSON, LEAST_PROFILES
from dgex.model.self_check import correlations
from dgex.model.training_map import evenly
from dgex.reporting import Page, pictures
from dgex.score_table import OUT_OF_FOLD

NAMED = 5  # studies in a warning
WORST = 20  # profiles in the table
FIRST = 25  # genes in the table, until someone searches
HELD_OUT = (OUT_OF_FOLD, "test")  # of a model's scores, those of studies that it had not seen
DRAWN = 2000  # profiles in the picture of the neighbourhood, at most


@dataclass(frozen=True)
class Picture:
    """Holds a picture, or why there is none.

    Attributes:
      text: the caption, or the reason.
      svg: the picture; None if there is none.
    """

    text: str
    svg: bytes | None = None

    @property
    def base64(self) -> str:
        """Encodes the picture in base64."""
        return base64.b64encode(self.svg or b"").decode()


def page_of(model: Model, prediction: Prediction, kind: str) -> Page:
    """Makes the report of a prediction whose blocks have been read; the same prediction gives the same bytes.

    Args:
      model: the model that predicted.
      prediction: the prediction.
      kind: the file format of the table.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined
    )
    check = prediction.check
    genes = gene_columns(model, prediction)
    profiles = len(prediction.expression.sample_id)
    html = environment.get_template("page.html.j2").render(
        table=visible(prediction.expression.provenance["input"]["name"]),
        lead=_lead(model, prediction),
        verdict="failed" if check.failed else "unknown" if np.isnan(check.reference_error) else "holds",
        check=check,
        facts=_facts(model, prediction, kind),
        warnings=_warnings(model, prediction),
        self_check=_self_check(model, prediction),
        expected=_expected(model, prediction),
        neighbourhood=_neighbourhood(model, prediction),
        worst=worst_profiles(prediction),
        profiles=profiles,
        out_of_range=int(prediction.expression.sample_metadata["out_of_range"].sum()),
        genes=[_gene_row(genes, row) for row in range(min(FIRST, len(genes["symbol"])))],
        gene_count=len(genes["symbol"]),
        well=sum(map(bool, genes["well"])),
        least_pearson=LEAST_PEARSON,
        # In a script element nothing is an entity, and "</script>" or "<!--" in a name would end or change it.
        data=json.dumps(genes, separators=(",", ":")).replace("<", "\\u003c"),
        first=FIRST,
    )
    return Page(html)


def gene_columns(model: Model, prediction: Prediction) -> dict[str, list[Any]]:
    """Tells of every target what left-out studies say of it, genes with the highest r first.

    Returns:
      "symbol", "ensembl", "here" (how this table has the gene: inferred, measured or imputed), "r" and "mae" (of
      left-out studies, rounded; None if unknown), and "well" (whether it is well inferred; None for all if the
      self-check failed).
    """
    reference, reliability = model.reference, model.reliability
    rows = len(reference.landmark_genes)
    told = dict(
        zip(
            prediction.expression.row_id[:rows],
            prediction.expression.row_metadata["kind"][:rows].tolist(),
            strict=True,
        )
    )
    well = [None if prediction.check.failed else int(each) for each in reliability.well_inferred]
    order = np.lexsort([np.array(reference.target_genes.symbol), -np.nan_to_num(reliability.pearson, nan=-2)])
    genes = reference.target_genes.take(order)
    return {
        "symbol": list(genes.symbol),
        "ensembl": list(genes.ensembl),
        "here": [told.get(gene, "inferred") for gene in genes.ensembl],
        "r": _rounded(reliability.pearson[order]),
        "mae": _rounded(reliability.zscore_mae[order]),
        "well": [well[gene] for gene in order],
    }


def worst_profiles(prediction: Prediction) -> list[list[str]]:
    """Lists the profiles with the largest expected errors, ``WORST`` at most: a header and a row each."""
    told = prediction.expression.sample_metadata
    order = np.lexsort([-told["self_check_error"], -told["expected_zscore_mae"]])[:WORST]
    header = ["profile", "expected z-score MAE", "expected log2 MAE", "self-check error (SD)", "platform"]
    rows = [
        [
            visible(prediction.expression.sample_id[profile]),
            *(
                f"{told[name][profile]:.3f}"
                for name in ("expected_zscore_mae", "expected_log2_mae", "self_check_error")
            ),
            visible(str(told["platform"][profile])),
            "yes" if told["out_of_range"][profile] else "no",
            str(told["landmarks_imputed"][profile]),
        ]
        for profile in order
    ]
    return [[*header, "out of range", "landmarks imputed"], *rows]


def _warnings(model: Model, prediction: Prediction) -> list[str]:
    """Lists the warnings of the prediction, and says which of its profiles the model may have been trained on."""
    trained = set(_training_split(model).get("studies") or ()) - {""}
    study = prediction.expression.sample_text("study_id")
    seen = [each for each in study if each in trained]
    if not seen:
        return prediction.warnings()
    names = sorted(set(seen))
    listed = ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
    return [
        *prediction.warnings(),
        f"{_count(len(seen))} of studies that the model was trained on ({visible(listed)}): their self-checks and "
        "expected errors are better than those of new studies would be",
    ]


def _count(profiles: int) -> str:
    """Counts profiles in words."""
    return "1 profile" if profiles == 1 else f"{profiles:,} profiles"


def _lead(model: Model, prediction: Prediction) -> str:
    """Says what was inferred, from what and by which model."""
    match, profiles = prediction.match, len(prediction.expression.sample_id)
    genes = sum(kind == "inferred" for kind in prediction.expression.row_metadata["kind"].tolist())
    size = _training_size(model)
    return (
        f"The expression of {genes:,} genes was inferred in {_count(profiles)}, "
        f"from {match.found:,} of {len(match.rows.count):,} landmark genes that the table measures, by "
        f"{_name(model)}{f', which was trained on {size}' if size else ''}."
    )


def _name(model: Model) -> str:
    """Gives the model's name."""
    return f"the model “{visible(model.source['name'])}”" if model.source else "a model in memory"


def _training_size(model: Model) -> str:
    """Says how many profiles and studies the model was trained on; nothing if its provenance does not tell."""
    train = _training_split(model)
    if "profiles" not in train:
        return ""
    studies = len(train.get("studies") or ())
    return _count(train["profiles"]) + (f" of {studies} studies" if studies else "")


def _training_split(model: Model) -> dict[str, Any]:
    """Gives what the provenance says of the training profiles: "profiles" and "studies", or nothing."""
    return dict(model.provenance.get("data", {}).get("splits", {}).get("train", {}))


def _facts(model: Model, prediction: Prediction, kind: str) -> dict[str, str]:
    """Lists what was found and taken."""
    told, provenance = prediction.expression.sample_metadata, prediction.expression.provenance
    given = provenance["options"]["input_scale"] != "auto"
    zscore, log2 = (told[f"expected_{unit}_mae"] for unit in ("zscore", "log2"))
    digest = f" (SHA-256 {model.source['sha256'][:12]}…)" if model.source else ""
    return {
        "Table": f"{visible(provenance['input']['name'])}, {kind}, {_count(len(zscore))}",
        "Landmarks": prediction.match.report(),
        "Scale of the table": f"{'given' if given else 'taken'} as {prediction.scale}",
        "Platform": prediction.platform_report().removeprefix("platform: "),
        "Expected error": f"z-score MAE {_spread(zscore)}; log2 MAE {_spread(log2)}",
        "Out of range": f"{int(told['out_of_range'].sum()):,} of {_count(len(zscore))}",
        "Model": f"{_name(model)}{digest}, dgex {provenance['dgex']}",
    }


def _spread(values: np.ndarray) -> str:
    """Gives the median and, of several values, the least and the greatest."""
    ends = f" (median; {values.min():.2f} to {values.max():.2f})" if len(values) > 1 else ""
    return f"{np.median(values):.2f}{ends}"


def _self_check(model: Model, prediction: Prediction) -> Picture:
    """Draws how well hidden landmarks are inferred."""
    measured, hidden = prediction.measured, prediction.hidden
    by_gene = correlations(measured, hidden, 0) if len(measured) >= LEAST_PROFILES else np.array([])
    least, shown = model.reliability.expectation.least_pearson, model.training_map
    usual = shown.self_check_pearson if shown else np.array([])
    svg = pictures.check(
        measured, hidden, by_gene, correlations(measured, hidden, 1), 2 * least if least > 0 else np.nan, usual
    )
    profiles = len(prediction.expression.sample_id)
    which = _count(profiles) if len(measured) == profiles else f"the first {_count(len(measured))}"
    text = (
        f"Left: every landmark of {which}, as measured and as inferred while it was hidden, in standard deviations of "
        "the training data, without the outermost 0.1 %: the darker, the more values; on the dashed line the two "
        "agree. Middle: does a landmark go "
        "up and down over the profiles as it is inferred to? Right: within a profile, are the high landmarks those "
        "that are inferred high? 1 is perfect, 0 is chance. A landmark that hardly varies among the profiles has a low "
        "r without fault of the model; errors then tell more than r."
    )
    return Picture(text, svg)


def _expected(model: Model, prediction: Prediction) -> Picture:
    """Draws the expected errors of all profiles."""
    expectation, shown = model.reliability.expectation, model.training_map
    own = prediction.expression.sample_metadata["expected_zscore_mae"]
    usual = expectation.expect(shown.self_check_error) if shown else np.array([], np.float32)
    known = np.isfinite(expectation.farthest)
    farthest = float(expectation.expect(np.array([expectation.farthest]))[0]) if known else np.inf
    text = (
        f"{_count(len(own))}, in units of each gene's standard deviation (SD). The expected error follows from "
        "the self-check of each profile alone."
    )
    scores = model.provenance.get("scores", {})
    guess = next((scores[name]["mean predictor"]["zscore_mae"] for name in HELD_OUT if name in scores), None)
    if guess is not None:
        text += f" To take the training data's mean for every value was off by {guess:.2f} on studies not seen before."
    if shown:
        text += " Grey: profiles of studies that the model had not seen when it was tried on them."
    return Picture(text, pictures.expected(own, usual, farthest))


def _neighbourhood(model: Model, prediction: Prediction) -> Picture:
    """Draws where the profiles lie among the training data."""
    shown, position = model.training_map, prediction.position
    if shown is None or position is None:
        return Picture(
            "Not drawn: this model does not hold where its training profiles lie. A model trained with this version "
            "of dgex does."
        )
    rows = evenly(len(position), DRAWN)
    svg = pictures.neighbourhood(position[rows], shown.position, shown.platform, model.reference.platforms.name)
    all_ = len(rows) == len(position)
    which = f"{len(rows):,}" if all_ else f"{len(rows):,} evenly spaced of {len(position):,}"
    text = (
        f"A point is a profile ({which} of this table), by the two directions in which the training profiles' "
        "landmarks differ most; the training data are centred at 0 and spread about 1. Profiles among the coloured "
        "points resemble what the model knows; profiles beside them are of a kind that it has not seen. What lies "
        "among them here can still differ in other directions, which the self-check sees."
    )
    return Picture(text, svg)


def _gene_row(genes: Mapping[str, Sequence[Any]], row: int) -> list[str]:
    """Writes a row of the gene table, as the script of the page does."""
    numbers = ("" if genes[name][row] is None else f"{genes[name][row]:.2f}" for name in ("r", "mae"))
    well = {None: "not told", 0: "no", 1: "yes"}[genes["well"][row]]
    return [genes["symbol"][row], genes["ensembl"][row], genes["here"][row], *numbers, well]


def _rounded(values: np.ndarray) -> list[float | None]:
    """Rounds numbers to three decimals; NaN becomes None."""
    return [None if np.isnan(value) else round(value, 3) for value in values.astype(np.float64).tolist()]
