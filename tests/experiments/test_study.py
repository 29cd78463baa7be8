"""The command end to end on a few models and two epochs; going on, sharing and refusing; what the page says."""

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import h5py
import pytest

from dgex.files.run_directory import claim
from experiments import study
from experiments.questions import ablation, activations, growth, linear_path, platforms
from experiments.trials import running
from experiments.trials.outcome import Outcome, read
from experiments.trials.sources import find_sources
from experiments.trials.trial import Trial


@pytest.fixture(autouse=True)
def small(few_draws, monkeypatch: pytest.MonkeyPatch, tiny) -> None:
    """The main comparison's networks, narrow ones, and the baselines of its pairs."""
    plain = tuple(replace(model, network={**model.network, "hidden": (4, 3)}) for model in activations.PLAIN)
    linear, kernel = tuple(map(activations.beside_linear_path, plain)), activations.beside_kernel(plain[-1])
    few = tuple(model for model in activations.BASELINE_MODELS if model.name in ("mean", "ridge", "arc_cosine"))
    for question in (activations, platforms):
        monkeypatch.setattr(question, "NETWORKS", (*plain, *linear, kernel))
        monkeypatch.setattr(question, "BASELINE_MODELS", few)
    in_towers = {"taaf_towers", "taaf_checkerboard", "taaf_checkerboard_linear"}
    for name in ("PAIRS", "SHOWN"):
        pairs = [pair for pair in getattr(activations, name) if in_towers.isdisjoint(pair)]
        monkeypatch.setattr(activations, name, tuple(pairs))
    monkeypatch.setattr(activations, "REFITTED", (*few[1:], plain[-1], linear[-1], kernel))
    monkeypatch.setattr(study, "FULL", replace(tiny, targets=10))
    monkeypatch.setattr(study, "QUICK_STUDY", replace(tiny, protocol=replace(tiny.protocol, epochs=1)))
    monkeypatch.setattr("sys.argv", ["study"])


def command(data: Path, output: Path, *more: str) -> Callable[[], object]:
    arguments = ["--data", str(data), "-o", str(output), "--devices", "1", *more]
    return lambda: study.app(arguments, standalone_mode=False)


ONE_SEED = ("--only", "activations", "--seeds", "1")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The trials that were computed."""
    found: list[Path] = []
    for name in ("_network", "_baseline"):
        compute = getattr(running, name)

        def counted(trial: Trial, *rest, compute=compute):
            found.append(trial.folder)
            return compute(trial, *rest)

        monkeypatch.setattr(running, name, counted)
    return found


def test_end_to_end_with_one_seed(
    study_data: Path, sources, plant, tiny, tmp_path: Path, calls, capsys, monkeypatch
) -> None:
    """Three trials of 90 are left to be trained: in six files three baselines and seven networks, five refitted."""
    output = tmp_path / "study"
    asked = activations.trials(sources, replace(tiny, targets=10, seeds=(0,)))
    left = [
        trial for trial in asked if trial.source == "fold-2" and trial.variant.name in ("tanh", "taaf_kernel", "ridge")
    ]
    plant(output, [trial for trial in asked if trial not in left], sources, lambda trial, held, study: 0.5)
    command(study_data, output, *ONE_SEED)()
    assert calls == [trial.folder for trial in left]
    notes, start = "1 seed(s): no intervals for networks, at least 3 needed", "activations: 90 trials, 87 of them done"
    said = capsys.readouterr().out
    assert 0 <= said.index(notes) < said.index(start) and "folds" not in said
    results = json.loads((output / "results.json").read_text())
    # The trials of platforms are the same.
    assert [section["name"] for section in results["sections"]] == ["new-studies", "new-samples", "platforms"]
    assert results["title"] == "tanh, sigmoid and TAAF on source.gctx"
    assert results["data"] == {source.path.name: source.identity for source in sources}
    assert results["plan"]["seeds"] == [0]
    page = (output / "report.html").read_text()
    assert "1 seed, at least 3 needed" in page and "nothing is shown" in page
    for section in results["sections"]:
        assert "1 seed" in section["data"]
        assert any("without an interval" in sentence for sentence in section["answer"])
        for table in section["tables"]:
            with (output / "tables" / f"{table['name']}.csv").open(newline="") as file:
                assert len(list(csv.reader(file))) == 1 + len(table["rows"])
        for figure in section["figures"]:
            assert (output / "figures" / f"{figure['name']}.svg").exists()
    # Resumed: nothing is done again, and the same is said.
    monkeypatch.setattr("experiments.report.page.write_report", write := Mock())
    command(study_data, output, *ONE_SEED, "--resume")()
    assert len(calls) == 3
    (_, again), _ = write.call_args
    assert json.loads(json.dumps(again["sections"])) == results["sections"]


def test_platforms_end_to_end(two_platforms: Path, plant, tmp_path: Path, calls) -> None:
    """In one fold the models of one platform alone are trained, and a refit with its choice; the rest is planted."""
    sources = find_sources(two_platforms)
    asked = platforms.trials(sources, replace(study.FULL, seeds=(0,)))
    left = [
        trial for trial in asked if trial.source == "fold-2" and (trial.platform or trial.model.name == "taaf_linear")
    ]
    plant(tmp_path, [trial for trial in asked if trial not in left], sources, lambda trial, held, study: 0.5)
    claim(tmp_path / "study.json", study.identity(sources, study.FULL), False)
    command(two_platforms, tmp_path, "--only", "platforms", "--seeds", "1", "--resume")()
    assert calls == [trial.folder for trial in left] and len(left) == 2 + 2 * 2
    (section,) = json.loads((tmp_path / "results.json").read_text())["sections"]
    assert section["name"] == "platforms-together" and len(section["answer"]) == 2 * 4
    ridge_alone = next(trial for trial in left if trial.platform == "rnaseq" and trial.model.name == "ridge")
    found = read(ridge_alone, sources.folds[1].identity, tmp_path).held_out_errors["test on rnaseq"]
    errors = next(table for table in section["tables"] if table["name"] == "platforms-rnaseq-errors")
    row = next(row for row in errors["rows"] if row[0] == "ridge regression, rnaseq alone")
    here = found.sample.shape[1]  # of the 48 test samples of RNA-seq those of this fold; the others have 0.5
    assert 0 < here < 48
    assert row[3] == pytest.approx((found.sample[0].sum() + 0.5 * (48 - here)) / 48)
    for table in section["tables"]:
        assert (tmp_path / "tables" / f"{table['name']}.csv").exists()
    assert (tmp_path / "figures" / "platforms-together-differences.svg").exists()
    assert "Do arrays help to infer RNA-seq" in (tmp_path / "report.html").read_text()


def test_questions_whose_trials_are_not_done_are_not_shown(
    study_data: Path, sources, plant, tmp_path: Path, monkeypatch
) -> None:
    """The one that is missing would be trained."""
    asked = activations.trials(sources, study.FULL)
    plant(tmp_path, asked[1:], sources, lambda trial, held, study: 0.5)
    monkeypatch.setattr(study, "run_all", lambda *arguments: None)
    command(study_data, tmp_path, "--only", "activations")()
    assert json.loads((tmp_path / "results.json").read_text())["sections"] == []
    assert (tmp_path / "report.html").exists()


def test_a_seed_more(study_data: Path, sources, plant, tmp_path: Path, monkeypatch) -> None:
    """The networks of the new seed are trained (here, taken to come out as those of the first), and nothing else."""
    first = activations.trials(sources, replace(study.FULL, seeds=(0,)))
    plant(tmp_path, first, sources, lambda trial, held, study: 0.5)
    claim(tmp_path / "study.json", study.identity(sources, study.FULL), False)
    trained: list[Trial] = []

    def train(trial: Trial, data, *rest) -> Outcome:
        trained.append(trial)
        return read(replace(trial, seed=0), data.source.identity, tmp_path)

    monkeypatch.setattr(running, "_network", train)
    monkeypatch.setattr(running, "_baseline", None)
    command(study_data, tmp_path, "--only", "activations", "--seeds", "2", "--resume")()
    networks = [trial for trial in first if trial.model.seeded]
    assert len(networks) == 6 * (7 + 3)
    assert {trial.folder for trial in trained} == {replace(trial, seed=1).folder for trial in networks}
    assert len(trained) == len(networks)
    sections = json.loads((tmp_path / "results.json").read_text())["sections"]
    assert all("2 seeds" in section["data"] for section in sections) and len(sections) == 3


def test_the_first_folds_alone(study_data: Path, sources, plant, tiny, tmp_path: Path, calls, capsys) -> None:
    """What was done on them counts when all folds are asked for."""
    asked = activations.trials(sources, replace(tiny, targets=10, seeds=(0,)))
    used = [trial for trial in asked if trial.source in ("fold-1", "fold-2", "sample")]
    plant(tmp_path, used, sources, lambda trial, held, study: 0.5)
    command(study_data, tmp_path, *ONE_SEED, "--folds", "2")()
    assert not calls and "2 folds: no intervals over them" in capsys.readouterr().out
    report = json.loads((tmp_path / "results.json").read_text())
    assert " in 2 folds" in report["sections"][0]["data"]
    assert set(report["data"]) == {"fold-1.h5", "fold-2.h5", "sample.h5"}
    plant(tmp_path, [trial for trial in asked if trial not in used], sources, lambda trial, held, study: 0.5)
    command(study_data, tmp_path, *ONE_SEED, "--resume")()
    assert not calls and " in 5 folds" in json.loads((tmp_path / "results.json").read_text())["sections"][0]["data"]


def test_what_will_have_no_interval(sources, tiny) -> None:
    assert study.too_few(sources, tiny) == []
    few, one = replace(sources, folds=sources.folds[:4]), replace(tiny, seeds=(0, 1))
    folds, seeds = "4 folds: no intervals over them, at least 5 needed", "2 seed(s): no intervals for networks"
    assert study.too_few(few, tiny) == [folds]
    assert study.too_few(few, one) == [folds, f"{seeds}, at least 3 needed"]


def test_every_question_is_one(sources, tiny) -> None:
    assert list(study.QUESTIONS.values()) == [activations, platforms, linear_path, growth, ablation]
    for question in study.QUESTIONS.values():
        assert question.trials(sources, tiny) and callable(question.sections)
        assert f"--only {question.__name__.rpartition('.')[2]}" in question.__doc__


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--only", "all"), "unknown question 'all'; known: activations, platforms, linear_path, growth, ablation"),
        (("--devices", "99"), "99"),
        ((), "holds a run already; continue it with --resume"),
        (("--resume", "--quick"), "holds another run, which differs in: protocol;"),
    ],
)
def test_what_cannot_be_done(study_data: Path, sources, tmp_path: Path, refused, calls, more, said: str) -> None:
    claim(tmp_path / "study.json", study.identity(sources, study.FULL), False)
    assert said in refused(lambda: study.app(["--data", str(study_data), "-o", str(tmp_path), *more]))
    assert [path.name for path in tmp_path.iterdir()] == ["study.json"] and not calls


def other_data(folder: Path) -> None:
    with h5py.File(folder / "sample.rna.h5", "r+") as file:
        file.attrs["command"] = "another"


def another_version(folder: Path) -> None:
    pass


@pytest.mark.parametrize(("change", "differs"), [(other_data, "data"), (another_version, "dgex")])
def test_a_folder_of_another_study(
    study_data: Path, sources, tmp_path: Path, refused, calls, monkeypatch, change, differs: str
) -> None:
    data, output = Path(shutil.copytree(study_data, tmp_path / "data")), tmp_path / "study"
    claim(output / "study.json", study.identity(sources, study.FULL), False)
    change(data)
    if change is another_version:
        monkeypatch.setattr(study, "__version__", "0.0")
    said = refused(lambda: study.app(["--data", str(data), "-o", str(output), "--resume"]))
    assert f"{output}: holds another run, which differs in: {differs};" in said and not calls


def test_outcomes_of_another_study_are_not_mixed_in(
    study_data: Path, sources, plant, tiny, tmp_path: Path, refused
) -> None:
    """A folder whose study.json is lost, or trials copied into it: noticed before anything is shown."""
    other = replace(tiny, targets=10, protocol=replace(tiny.protocol, epochs=7))
    plant(tmp_path, activations.trials(sources, other), sources, lambda trial, held, study: 0.5)
    said = refused(lambda: study.app(["--data", str(study_data), "-o", str(tmp_path), "--only", "activations"]))
    assert "is of another trial, which differs in: protocol; choose another folder" in said
    assert not (tmp_path / "report.html").exists()


def test_a_damaged_outcome(study_data: Path, sources, plant, tiny, tmp_path: Path, refused) -> None:
    asked = activations.trials(sources, replace(tiny, targets=10))
    plant(tmp_path, asked, sources, lambda trial, held, study: 0.5)
    (tmp_path / asked[3].folder / "outcome.npz").write_bytes(b"PK")
    said = refused(lambda: study.app(["--data", str(study_data), "-o", str(tmp_path), "--only", "activations"]))
    assert f"{tmp_path / asked[3].folder}/outcome.npz: cannot be read" in said and "delete it and resume" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("-o", "here"), "give --data"),
        (("--data", "nowhere", "-o", "here"), "nowhere: holds no prepared files"),
        (("--redraw", "-o", "here"), "results.json: cannot be read"),
    ],
)
def test_nothing_to_work_on(tmp_path: Path, monkeypatch, refused, arguments, said: str) -> None:
    monkeypatch.chdir(tmp_path)
    assert said in refused(lambda: study.app(arguments))
    assert not (tmp_path / "here").exists()


def test_an_output_that_is_a_file(study_data: Path, tmp_path: Path, refused) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot be written" in refused(lambda: study.app(["--data", str(study_data), "-o", str(tmp_path / "file")]))
