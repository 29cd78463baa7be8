"""The report section that compares models on test samples: which is better, by how much, with which interval."""

from collections.abc import Mapping, Sequence

from experiments.analysis.evidence import Run, compare_all
from experiments.report.figures import differences
from experiments.report.sections import Figure, Section, Table
from experiments.report.sentences import chosen_in_each, data_line, verdict
from experiments.report.tables import comparison_table, error_table


def comparison_section(
    name: str,
    question: str,
    by_model: Mapping[str, Run],
    pairs: Sequence[tuple[str, str]],
    shown: Sequence[tuple[str, str]],
    caveats: Sequence[str],
    data: str = "",
    tables: Sequence[Table] = (),
    figures: Sequence[Figure] = (),
) -> Section:
    """Makes the section that compares models on the test samples.

    Args:
      name: name of the section.
      question: the question that the section answers.
      by_model: runs by name of the model, in the order of the tables.
      pairs: pairs of models to compare; decided before any outcome is known, so that p-values can be corrected for
        their number.
      shown: those of the pairs that the answer describes.
      caveats: limits of the answer.
      data: text before the numbers of samples, studies, genes and seeds that are tested on.
      tables: more tables, after those of errors and differences.
      figures: more figures, after that of differences.
    """
    comparisons = compare_all(by_model, pairs)
    log2 = compare_all(by_model, pairs, measure="log2 MAE")
    tested = data_line(by_model)
    return Section(
        name=name,
        question=question,
        data=f"{data}{tested}.",
        answer=[
            *(verdict(comparisons[pairs.index(pair)]) for pair in shown),
            chosen_in_each(list(by_model.values())),
        ],
        caveats=caveats,
        tables=[
            error_table(f"{name}-errors", f"Errors on the test samples ({tested}).", list(by_model.values())),
            comparison_table(f"{name}-comparisons", f"Differences of the z-score MAE ({tested}).", comparisons),
            comparison_table(f"{name}-comparisons-log2", f"Differences of the log2 MAE ({tested}).", log2),
            *tables,
        ],
        figures=[differences(f"{name}-differences", by_model, pairs, comparisons, tested), *figures],
    )
