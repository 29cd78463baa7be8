"""Prepares a data set from a file of raw expression profiles, or maps the profiles onto an existing data set.

Missing values are handled in four steps:

1. A probe set that is missing in a profile is left out of its gene's average there.
2. A profile is removed if it lacks more than 10 % of the genes that at least half of the profiles have.
3. A gene is removed, and reported as missing, if more than half of the training profiles lack it; a gene with no row in
   the source is lacked by all. No gene is removed where a cohort is mapped onto an existing data set.
4. All other missing values are imputed after normalisation with the gene's mean over the training profiles that have
   it, which is a z-score of 0. The report counts them, and the file marks them: as inputs they keep that value, as
   targets they are neither trained on nor scored.

Of several platforms the first is the reference: its training profiles choose the genes and give the quantiles and the
scaler, so that its values do not depend on the others. These are mapped onto its quantiles and have offsets.

The reference distribution, the means and the scaler come from the training split alone; a cohort that is mapped onto an
existing data set uses those of that data set. Only ``legacy`` fits over all samples, as the papers' own code does. The
bytes of the output do not depend on the resources.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from data_prep.blocks import Work
from data_prep.choice import Choice
from data_prep.duplicates import Rule, check_rule, keep_unique
from data_prep.report import Report
from data_prep.sources import Pool, platform_of, pooled, unrepeated
from data_prep.split import (
    FRACTIONS,
    Fold,
    Fractions,
    Split,
    check_fold,
    check_fractions,
    split_by_fold,
    split_by_platform,
    split_by_sample,
    split_by_study,
)
from data_prep.staging import BULK_SAMPLES, MOST_MISSING_OF_A_GENE, Staged, stage
from data_prep.writing import Plan, fit_reference, write
from dgex.data.dataset import SPLITS, read_reference, sha256_of, training_samples
from dgex.data.genes import gene_table_paths, read_gene_tables
from dgex.errors import DgexError
from dgex.files.atomic import check_writable
from dgex.formats.archs4 import KIND as ARCHS4
from dgex.formats.expression import first_repeated

FEWEST_PROFILES = 10  # of a platform, if there are several: fewer tell no offsets


@dataclass(frozen=True)
class Settings:
    """Holds the options of a preparation: the split, the rule for duplicates, and the arithmetic."""

    split: Split = "study"
    fractions: Fractions = FRACTIONS
    fold: Fold | None = None  # of studies, instead of ``split`` and ``fractions``
    seed: int = 0
    duplicates: Rule = "exact"
    legacy: bool = False  # ranks as in the papers' own code, and fits over all samples
    platforms: tuple[str, ...] = ()  # of the sources; () where they say it, or their rows do
    train_only: tuple[str, ...] = ()  # platforms that are neither validated nor tested on
    choice: Choice | None = None  # of the samples of ARCHS4 sources; None for bulk samples with enough reads


def prepare(
    sources: Path | Sequence[Path],
    genes_dir: Path,
    output: Path,
    settings: Settings,
    command: str,
    work: Work | None = None,
    layer: str | None = None,
) -> Report:
    """Prepares a data set: removes duplicates, averages by gene, splits, normalises, imputes, and writes one file.

    Equal input, settings and command give equal bytes.

    Args:
      sources: the raw profiles, one or several expression tables. The reference platform is that of the first profile.
      genes_dir: folder of the gene tables.
      output: the prepared file to write.
      settings: the options.
      command: the user's command, which is recorded in the file.
      work: resources to use, and the progress display.
      layer: of an h5ad source, the matrix to read instead of X.

    Raises:
      DgexError: an input is unusable (see ``stage``, ``read_gene_tables``), has no studies to split by, or too few
        samples; a choice of samples is made without an ARCHS4 source; two sources have one name; the platforms named
        are not one a source, one of several has a single study or fewer than ten profiles, or shares no gene with the
        reference; the memory does not suffice; or the output cannot be written.
    """
    work = work or Work()
    tables = gene_table_paths(genes_dir)
    sources = (sources,) if isinstance(sources, Path) else tuple(sources)
    check_sources(sources, settings.platforms)
    folder = check_writable(output, *sources, *tables)
    check_fractions(settings.fractions)
    if settings.fold:
        check_fold(settings.fold)
    check_rule(settings.duplicates)
    landmark, target = read_gene_tables(genes_dir)
    with ExitStack() as stack:
        all_staged = []
        for source in sources:
            choice = settings.choice or Choice(seed=settings.seed)
            all_staged.append(stack.enter_context(stage(source, landmark, target, folder, work, layer, choice)))
            if settings.fold or settings.split == "study":
                _need_studies(source, all_staged[-1].study)
        _need_archs4(sources, all_staged, settings.choice)
        chosen = settings.platforms or (None,) * len(sources)
        names = [name for staged, one in zip(all_staged, chosen, strict=True) for name in platform_of(staged, one)]
        pool = pooled(all_staged, names)
        label = " and ".join(map(str, sources))
        complete = np.concatenate([_complete(*each) for each in zip(sources, all_staged, strict=True)])
        unique = _unique(pool, np.flatnonzero(complete), settings, work)
        kept = np.flatnonzero(complete & unique)
        split = _split(label, pool, kept, settings)
        fit = np.full(len(kept), True) if settings.legacy else split == SPLITS.index("train")
        of_reference = kept[fit & (pool.platform[kept] == 0)]
        kept_genes = pool.missing_per_gene(of_reference) <= MOST_MISSING_OF_A_GENE * len(of_reference)
        for table, kept_of_table in zip(tables, np.split(kept_genes, [len(landmark)]), strict=True):
            if not kept_of_table.any():
                raise DgexError(
                    f"{label}: no gene of {table} is measured in half of the training profiles; use a source with "
                    "fewer missing values"
                )
        _need_shared_genes(label, pool, kept[fit], kept_genes, len(landmark))
        plan = Plan(pool, complete, kept, split, fit, kept_genes, landmark, target, settings.legacy)
        inputs = (*sources, *tables)
        return write(output, plan, fit_reference(plan, work), None, asdict(settings), command, inputs, work)


def prepare_onto(
    prepared: Path,
    source: Path,
    output: Path,
    legacy: bool,
    command: str,
    work: Work | None = None,
    layer: str | None = None,
    choice: Choice | None = None,
) -> Report:
    """Maps a cohort onto the genes, quantiles and scaler of a prepared data set, profile by profile.

    All profiles become test samples. Near-duplicates are not searched for, since the data set keeps no raw profiles to
    compare with. A gene that the cohort lacks stays, and is imputed with the training profiles' mean.

    Args:
      prepared: the existing prepared file.
      source: the cohort, an expression table.
      output: the prepared file to write.
      legacy: whether to rank and standardise as the papers' own code does: RNA-seq by dense ranks, and with the
        cohort's mean and SD.
      command: as in ``prepare``.
      work: as in ``prepare``.
      layer: as in ``prepare``.
      choice: of the samples, if the cohort is an ARCHS4 file; see ``Settings``.

    Raises:
      DgexError: as ``prepare``; ``prepared`` is no prepared file, or has some of the cohort's samples in its training
        split.
    """
    work = work or Work()
    folder = check_writable(output, source, prepared)
    reference = read_reference(prepared)
    landmark, target = reference.landmark_genes, reference.target_genes
    with stage(source, landmark, target, folder, work, layer, choice or BULK_SAMPLES) as staged:
        _need_archs4((source,), [staged], choice)
        trained_on = np.isin(staged.sample_id, training_samples(prepared))
        if trained_on.any():
            raise DgexError(
                f"{source}: {trained_on.sum()} of its samples, such as {staged.sample_id[trained_on][0]}, are training "
                f"samples of {prepared}; leave them out"
            )
        complete = _complete(source, staged)
        kept = np.flatnonzero(complete)
        plan = Plan(
            # The papers' own code standardises a cohort by itself, so that no offset is left.
            pooled([staged], [""] * len(complete) if legacy else platform_of(staged), reference.platforms.name),
            complete,
            kept,
            split=np.full(len(kept), SPLITS.index("test"), np.uint8),
            fit=np.full(len(kept), legacy),
            kept_genes=np.full(len(landmark) + len(target), True),
            landmark=landmark,
            target=target,
            legacy=legacy,
        )
        settings = {"onto": sha256_of(prepared), "legacy": legacy, "choice": choice and asdict(choice)}
        return write(output, plan, reference.quantiles, reference, settings, command, (source,), work)


def _complete(source: Path, staged: Staged) -> np.ndarray:
    """Finds the profiles that are complete enough, bool [samples]; refuses a source where none is."""
    complete = staged.is_complete()
    if not complete.any():
        raise DgexError(
            f"{source}: every profile lacks more than 10 % of the genes that most profiles have; use a source with "
            "fewer missing values"
        )
    if not staged.usual_rows(np.flatnonzero(complete)).any():
        raise DgexError(f"{source}: no row is measured in half of the profiles; prepare its platforms one by one")
    return complete


def _need_archs4(sources: Sequence[Path], staged: Sequence[Staged], choice: Choice | None) -> None:
    """Refuses a choice of samples where no source is an ARCHS4 file."""
    if choice and not any(source.kind == ARCHS4 for source in staged):
        raise DgexError(
            f"{' and '.join(map(str, sources))}: --keep, --samples, --per-study and --min-reads choose samples of "
            "ARCHS4 files, and this is none; leave them out"
        )


def _need_studies(source: Path, study: np.ndarray) -> None:
    """Refuses to split by study where the study of a sample is unknown."""
    if (study == "").any():
        raise DgexError(
            f"{source}: {(study == '').sum()} of {len(study)} samples have no study_id; add this field to the sample "
            "metadata, or choose --split sample"
        )


def check_sources(sources: Sequence[Path], platforms: Sequence[str]) -> None:
    """Refuses sources of one file name, by which the prepared file records them, and platforms that do not fit them."""
    if repeated := first_repeated([source.name for source in sources]):
        raise DgexError(f"{repeated}: two sources have this name; rename one")
    if platforms and len(platforms) != len(sources):
        raise DgexError(f"--platform: names {len(platforms)} platforms of {len(sources)} sources; give one a source")
    if "" in platforms:
        raise DgexError("--platform: is empty; give a name")


def _split(label: str, pool: Pool, kept: np.ndarray, settings: Settings) -> np.ndarray:
    """Assigns the kept profiles to splits as the settings say: u1 [kept]."""
    study, project = pool.study[kept].tolist(), pool.project[kept].tolist()
    groups = [own or other for own, other in zip(project, study, strict=True)]

    def divide(groups: list[str]) -> np.ndarray:
        if settings.fold:
            return split_by_fold(groups, settings.fold, settings.seed)
        if settings.split == "study":
            return split_by_study(groups, settings.fractions, settings.seed)
        return split_by_sample(len(groups), settings.fractions, settings.seed)

    try:
        platform, names = pool.platform[kept], pool.platforms
        if unknown := sorted(set(settings.train_only) - set(names)):
            raise DgexError(f"has no platform {unknown[0]!r}; choose from {', '.join(names)} for --train-only")
        for code, name in enumerate(names if len(names) > 1 else ()):
            members = np.flatnonzero(platform == code)
            studies = {study[member] for member in members}
            if len(members) < FEWEST_PROFILES or len(studies) < 2:
                raise DgexError(
                    f"platform {name} has {len(members)} profiles of {len(studies)} studies, and needs "
                    f"{FEWEST_PROFILES} of 2; add some, or leave it out"
                )
        whole = settings.fold is not None or settings.split == "study"
        return split_by_platform(groups, platform, names, settings.train_only, divide, whole)
    except DgexError as error:
        remaining = f"{len(kept)} of {len(pool.platform)} profiles are no duplicates and complete"
        if len(set(groups)) < len(set(study)):
            remaining += f"; the sample field project joins {len(set(study))} studies into {len(set(groups))}"
        raise DgexError(f"{label}: {error} ({remaining})") from error


def _need_shared_genes(label: str, pool: Pool, fit: np.ndarray, kept_genes: np.ndarray, landmarks: int) -> None:
    """Refuses a platform whose training profiles have none of the landmarks, or none of the targets, of the first."""
    for code, name in enumerate(pool.platforms):
        profiles = fit[pool.platform[fit] == code]
        shared = kept_genes & (pool.missing_per_gene(profiles) < len(profiles))
        for side, genes in zip(("landmark", "target"), np.split(shared, [landmarks]), strict=True):
            if not genes.any():
                raise DgexError(
                    f"{label}: the platforms {pool.platforms[0]} and {name} share no {side} gene; prepare them one by "
                    "one"
                )


def _unique(pool: Pool, profiles: np.ndarray, settings: Settings, work: Work) -> np.ndarray:
    """Finds repeated names and near-duplicates among ``profiles``: bool [samples], False for those to remove."""
    unique = np.full(len(pool.platform), True)
    first = unrepeated(pool, profiles)
    unique[profiles[~first]] = False
    profiles = profiles[first]
    with work.steps("finding duplicates", 2 * len(profiles)) as advance:
        for alike in pool.by_naming():
            members = profiles[np.isin(profiles, alike.profiles)]
            if not len(members):
                continue
            unique[members] = keep_unique(
                lambda positions, alike=alike, members=members: alike.read(members[positions]),  # type: ignore[misc]
                len(members),
                alike.usual_rows(members),
                settings.duplicates,
                settings.seed,
                advance,
            )
    return unique
