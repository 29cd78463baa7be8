"""A trial's outcome: what numpy says of the same predictions, the same after a stop, and of no other trial."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import jax
import numpy as np
import pytest

from dgex import training
from dgex.errors import DgexError
from dgex.files.run_directory import InUseError, sole_use
from dgex.inference import Inference
from dgex.protocols import QUICK
from dgex.training_result import DivergedError
from experiments.trials import running
from experiments.trials.loading import Loaded, random_subset
from experiments.trials.models import ModelSpec
from experiments.trials.outcome import Outcome, check, identity, is_done, read
from experiments.trials.running import run, same_steps
from experiments.trials.schedule import run_all
from experiments.trials.sources import Sources
from experiments.trials.trial import Trial

PROTOCOL = replace(QUICK, batch=32, epochs=4)
SMALL = {"hidden": (6, 5), "dropout": 0.25, "activation": "sigmoid", "taaf": "all"}
NETWORK = Trial("fold-1", ModelSpec("small", "small TAAF", SMALL, 0.9), PROTOCOL, seed=3, targets=12, profiles=40)
RIDGE = Trial("fold-1", ModelSpec("ridge", "ridge regression"), None, targets=12)
MEAN = Trial("fold-1", ModelSpec("mean", "mean predictor"), None, targets=12)


@pytest.fixture(scope="module")
def loaded(sources: Sources) -> Loaded:
    return Loaded(sources.folds[0], tuple(jax.devices()[:1]))


@pytest.fixture(scope="module")
def folder(loaded: Loaded, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Finished trials; not to be changed."""
    folder = tmp_path_factory.mktemp("trials")
    for trial in (NETWORK, RIDGE, MEAN):
        run(trial, loaded, folder)
    return folder


@pytest.fixture(scope="module")
def outcome(folder: Path, loaded: Loaded) -> Outcome:
    return read(NETWORK, loaded.source.identity, folder)


def same(a: Outcome, b: Outcome) -> None:
    """Every number but the seconds; not a number is the same as itself."""
    assert a.held_out_errors.keys() == b.held_out_errors.keys() and a.taaf.keys() == b.taaf.keys()
    for held, scores in a.held_out_errors.items():
        for name, values in vars(scores).items():
            np.testing.assert_array_equal(
                values, getattr(b.held_out_errors[held], name), err_msg=f"{held} {name}", strict=True
            )
    for name, values in a.taaf.items():
        np.testing.assert_array_equal(values, b.taaf[name])
    np.testing.assert_array_equal(a.curve, b.curve)
    for name in ("validation_mae", "parameters", "best_epoch", "chosen", "output_reach", "diverged"):
        assert getattr(a, name) == getattr(b, name)


def test_errors_of_the_mean_predictor_are_those_of_the_targets(folder: Path, loaded: Loaded) -> None:
    outcome = read(MEAN, loaded.source.identity, folder)
    columns = random_subset(40, 12)
    target = loaded.dataset.zscores("test")[1][:, columns].astype(float)
    sd = loaded.dataset.target_scaler.sd[columns]
    alone = ~loaded.dataset.overlap[columns]
    scores = outcome.held_out_errors["test"]
    expected = [
        abs(target).mean(1), abs(target)[:, alone].mean(1),
        (abs(target) * sd).mean(1), (abs(target) * sd)[:, alone].mean(1),
    ]  # fmt: skip
    np.testing.assert_allclose(scores.sample, expected, rtol=1e-4)
    assert scores.study.tolist() == np.asarray(loaded.dataset.study)[loaded.dataset.split == 2].tolist()
    validation = loaded.dataset.zscores("validation")[1][:, columns]
    assert outcome.validation_mae == pytest.approx(np.abs(validation.astype(float)).mean(), rel=1e-4)
    assert (outcome.parameters, outcome.best_epoch, outcome.chosen, outcome.taaf) == (None, None, None, {})
    assert outcome.curve.shape == (2, 0)


def test_ridge_is_chosen_on_validation_samples(folder: Path, loaded: Loaded) -> None:
    """Ridge by hand with the chosen penalty has the validation error that the outcome names, and its test errors."""
    outcome = read(RIDGE, loaded.source.identity, folder)
    columns = random_subset(40, 12)
    x, y = (values.astype(float) for values in loaded.dataset.zscores("train"))
    y = y[:, columns]
    centred = x - x.mean(0)
    gram = centred.T @ centred + outcome.chosen * np.eye(x.shape[1])
    weights = np.linalg.solve(gram, centred.T @ (y - y.mean(0)))

    def error(split: str) -> np.ndarray:
        landmark, target = loaded.dataset.zscores(split)
        return np.abs((landmark - x.mean(0)) @ weights + y.mean(0) - target[:, columns])

    assert outcome.validation_mae == pytest.approx(error("validation").mean(), rel=1e-4)
    np.testing.assert_allclose(outcome.held_out_errors["test"].sample[0], error("test").mean(1), rtol=1e-3)


def test_arc_cosine_is_chosen_on_validation_samples(loaded: Loaded, tmp_path: Path) -> None:
    """The kernel by hand with the chosen penalty has the outcome's validation error, and its test errors."""
    trial = replace(RIDGE, model=ModelSpec("arc_cosine", "arc-cosine kernel"))
    run(trial, loaded, tmp_path)
    outcome = read(trial, loaded.source.identity, tmp_path)
    columns = random_subset(40, 12)
    x, y = (values.astype(float) for values in loaded.dataset.zscores("train"))
    y = y[:, columns]

    def kernel(a: np.ndarray) -> np.ndarray:
        lengths = np.sqrt((a**2).sum(1))[:, None] * np.sqrt((x**2).sum(1))
        angle = np.arccos(np.clip(a @ x.T / lengths, -1, 1))
        return lengths / np.pi * (np.sin(angle) + (np.pi - angle) * np.cos(angle))

    weights = np.linalg.solve(kernel(x) + outcome.chosen * np.eye(len(x)), y - y.mean(0))

    def error(split: str) -> np.ndarray:
        landmark, target = loaded.dataset.zscores(split)
        return np.abs(kernel(landmark.astype(float)) @ weights + y.mean(0) - target[:, columns])

    assert outcome.validation_mae == pytest.approx(error("validation").mean(), rel=1e-4)
    np.testing.assert_allclose(outcome.held_out_errors["test"].sample[0], error("test").mean(1), rtol=1e-3)


def test_outcome_of_a_network(outcome: Outcome, loaded: Loaded) -> None:
    assert set(outcome.held_out_errors) == {"test", "rna"}
    # 15 landmarks, hidden 6 and 5, 12 targets; a TAAF has four parameters a unit, of which gamma is the dense bias.
    weights = 15 * 6 + 6 * 5 + 5 * 12
    assert outcome.parameters == weights + 4 * (6 + 5 + 12)
    assert outcome.taaf["outputs_taaf/alpha"].shape == (12,) and outcome.taaf["H1_taaf/beta"].shape == (5,)
    train = loaded.dataset.zscores("train")[1][random_subset(86, 40)][:, random_subset(40, 12)]
    assert outcome.output_reach == pytest.approx(np.sort(np.abs(train), axis=None)[int(0.9 * 40 * 12) - 1])
    # 40 of 86 profiles are 2 batches of 32 in place of 3.
    assert outcome.curve.shape == (2, 6)
    assert outcome.validation_mae == outcome.curve[1].min() == outcome.curve[1, outcome.best_epoch - 1]


def test_the_scored_network_is_that_of_the_best_epoch(
    folder: Path, loaded: Loaded, outcome: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks = []

    def spy(*network):
        networks.append(Inference(*network))
        return networks[-1]

    monkeypatch.setattr(running, "Inference", spy)
    run(NETWORK, loaded, tmp_path)
    same(read(NETWORK, loaded.source.identity, tmp_path), outcome)  # nor does it matter where and when it is trained
    landmark, target = loaded.dataset.zscores("validation")
    error = np.abs(networks[0](landmark) - target[:, random_subset(40, 12)])
    assert error.mean() == pytest.approx(outcome.validation_mae, rel=1e-5)
    landmark, target = loaded.dataset.zscores("test")
    error = np.abs(networks[0](landmark).astype(float) - target[:, random_subset(40, 12)])
    np.testing.assert_allclose(outcome.held_out_errors["test"].sample[0], error.mean(1), rtol=1e-5)


@pytest.mark.parametrize(
    ("profiles", "of_them", "epochs"), [(500, 500, 60), (500, 100, 240), (500, 64, 480), (65, 64, 120)]
)
def test_fewer_profiles_as_many_steps(profiles: int, of_them: int, epochs: int) -> None:
    """ceil(500 / 64) = 8 steps an epoch; of 100 profiles 2, of 64 one."""
    found = same_steps(replace(QUICK, batch=64, epochs=60), profiles, of_them)
    assert found == replace(QUICK, batch=64, epochs=epochs)


def test_a_killed_trial_goes_on(loaded: Loaded, outcome: Outcome, tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    epochs: list[int] = []

    def on_epoch(row, seconds):
        epochs.append(row.epoch)
        if epochs == [1, 2, 3]:
            raise Killed

    with pytest.raises(Killed):
        run(NETWORK, loaded, tmp_path, on_epoch)
    assert not is_done(NETWORK, tmp_path)
    run(NETWORK, loaded, tmp_path, on_epoch)
    assert epochs[3:] and epochs[-1] == 6 and epochs[3] > 1
    same(read(NETWORK, loaded.source.identity, tmp_path), outcome)
    assert sorted(path.name for path in (tmp_path / NETWORK.folder).iterdir()) == ["lock", "outcome.npz", "training"]
    assert not list(tmp_path.rglob("checkpoints"))


def test_it_says_what_made_it(loaded: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "git_commit", lambda: "abc-dirty")
    run(MEAN, loaded, tmp_path)
    assert read(MEAN, loaded.source.identity, tmp_path).made == f"1 x cpu, JAX {jax.__version__}, commit abc-dirty"


def diverge_in(monkeypatch: pytest.MonkeyPatch, epoch: int) -> None:
    """From this epoch on a step is longer than any number."""
    rate = training.learning_rate
    monkeypatch.setattr(
        training, "learning_rate", lambda protocol, maes: 1e38 if len(maes) + 1 >= epoch else rate(protocol, maes)
    )


def test_a_diverged_network_is_scored_at_its_best_epoch_before(
    loaded: Loaded, outcome: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if training had been for the three epochs that went well."""
    shorter = replace(NETWORK, protocol=replace(PROTOCOL, epochs=2))  # 3 of them on 40 profiles
    run(shorter, loaded, tmp_path / "shorter")
    expected = read(shorter, loaded.source.identity, tmp_path / "shorter")
    diverge_in(monkeypatch, 4)
    run(NETWORK, loaded, tmp_path)
    found = read(NETWORK, loaded.source.identity, tmp_path)
    assert (found.diverged, expected.diverged, outcome.diverged) == (4, None, None)
    np.testing.assert_array_equal(found.curve, np.pad(expected.curve, ((0, 0), (0, 3)), constant_values=np.nan))
    np.testing.assert_array_equal(found.curve[:, :3], outcome.curve[:, :3])
    same(replace(found, curve=expected.curve, diverged=None), expected)
    assert sorted(path.name for path in (tmp_path / NETWORK.folder).iterdir()) == ["lock", "outcome.npz", "training"]
    assert not list(tmp_path.rglob("checkpoints"))


def test_a_network_that_diverges_at_once_has_no_scores(
    loaded: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    diverge_in(monkeypatch, 1)
    with pytest.raises(DivergedError, match=r"not finite in epoch 1 \(seed 3, learning rate 1e\+38\)"):
        run(NETWORK, loaded, tmp_path)
    assert not is_done(NETWORK, tmp_path)


def test_a_study_goes_on_after_a_diverged_network(
    loaded: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    diverge_in(monkeypatch, 2)
    run_all([NETWORK, MEAN], [loaded.source], tmp_path, loaded.devices)
    found = [read(trial, loaded.source.identity, tmp_path) for trial in (NETWORK, MEAN)]
    assert [one.diverged for one in found] == [2, None]


def test_a_finished_trial_is_not_trained_again(folder: Path, loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "fit", None)
    before = (folder / NETWORK.folder / "outcome.npz").read_bytes()
    run(NETWORK, loaded, folder)
    assert (folder / NETWORK.folder / "outcome.npz").read_bytes() == before


def test_a_trial_in_use_is_left_alone(loaded: Loaded, tmp_path: Path) -> None:
    (tmp_path / MEAN.folder).mkdir(parents=True)
    with sole_use(tmp_path / MEAN.folder), pytest.raises(InUseError, match="another process is training there"):
        run(MEAN, loaded, tmp_path)
    run(MEAN, loaded, tmp_path)
    assert is_done(MEAN, tmp_path)


def test_identity_is_json_without_the_label() -> None:
    found = identity(NETWORK, {"sha256": "00", "cohorts": {}})
    assert found == json.loads(json.dumps(found))
    renamed = replace(NETWORK, model=replace(NETWORK.model, label="other"))
    assert identity(renamed, {"sha256": "00", "cohorts": {}}) == found
    assert found["protocol"] == json.loads(json.dumps(asdict(PROTOCOL)))


@pytest.mark.parametrize(
    ("asked", "data", "differs"),
    [
        (replace(NETWORK, protocol=replace(PROTOCOL, epochs=5)), None, "protocol"),
        (replace(NETWORK, model=replace(NETWORK.model, network={**SMALL, "dropout": 0.1})), None, "model"),
        (replace(NETWORK, model=replace(NETWORK.model, covered_fraction=0.8)), None, "model"),
        (NETWORK, {"sha256": "00", "cohorts": {}}, "data"),
    ],
)
def test_outcome_of_another_trial(folder: Path, loaded: Loaded, asked: Trial, data: dict | None, differs: str) -> None:
    for look in (read, check):
        with pytest.raises(DgexError) as refused:
            look(asked, data or loaded.source.identity, folder)
        assert f"outcome.npz: is of another trial, which differs in: {differs}; " in str(refused.value)
        assert "\n" not in str(refused.value)
    check(NETWORK, loaded.source.identity, folder)


@pytest.mark.parametrize(
    "moved", [replace(NETWORK, seed=4), replace(NETWORK, source="fold-2"), replace(NETWORK, profiles=None)]
)
def test_an_outcome_that_was_moved_to_another_place(folder: Path, loaded: Loaded, moved: Trial, tmp_path: Path) -> None:
    (tmp_path / moved.folder).mkdir(parents=True)
    (tmp_path / moved.folder / "outcome.npz").write_bytes((folder / NETWORK.folder / "outcome.npz").read_bytes())
    with pytest.raises(DgexError, match="is of another trial"):
        read(moved, loaded.source.identity, tmp_path)


def spoilt(whole: bytes) -> list[bytes]:
    """Cut short, bits turned over, other formats."""
    random = np.random.default_rng(0)
    damaged = [whole[: int(end)] for end in random.integers(len(whole), size=20)]
    for _ in range(150):
        changed = bytearray(whole)
        # Near an end, where the names are, or in the middle.
        changed[int(random.choice([random.integers(400), random.integers(len(whole)), -random.integers(1, 4000)]))] ^= (
            1 << int(random.integers(8))
        )
        damaged.append(bytes(changed))
    return [b"", b"not an archive", b"\x93NUMPY", *damaged]


def test_a_damaged_outcome(folder: Path, loaded: Loaded, outcome: Outcome, tmp_path: Path) -> None:
    path = tmp_path / NETWORK.folder / "outcome.npz"
    path.parent.mkdir(parents=True)
    refused = 0
    for content in spoilt((folder / NETWORK.folder / "outcome.npz").read_bytes()):
        path.write_bytes(content)
        try:
            same(
                read(NETWORK, loaded.source.identity, tmp_path), outcome
            )  # a bit that means nothing, such as of a date
        except DgexError as error:
            assert f"{path}: cannot be read (" in str(error) and "delete it and resume" in str(error)
            refused += 1
    assert refused > 60


def without(name: str) -> Callable[[dict], dict]:
    return lambda arrays: {key: values for key, values in arrays.items() if key != name}


@pytest.mark.parametrize(
    "change",
    [
        without("identity"), without("summary"), without("curve"), without("scores/test/sample"),
        lambda arrays: {**arrays, "identity": np.array("[3]")},
        lambda arrays: {**arrays, "summary": np.array("null")},
        lambda arrays: {**arrays, "scores/test/more": np.zeros(3)},
        lambda arrays: {**arrays, "curve": np.array([{}], dtype=object)},
    ],
)  # fmt: skip
def test_an_outcome_of_other_content(folder: Path, loaded: Loaded, tmp_path: Path, change) -> None:
    with np.load(folder / NETWORK.folder / "outcome.npz") as file:
        arrays = change(dict(file))
    path = tmp_path / NETWORK.folder / "outcome.npz"
    path.parent.mkdir(parents=True)
    np.savez(path, **arrays)
    with pytest.raises(DgexError, match="cannot be read"):
        read(NETWORK, loaded.source.identity, tmp_path)


def test_a_missing_outcome(loaded: Loaded, tmp_path: Path) -> None:
    assert not is_done(NETWORK, tmp_path)
    with pytest.raises(DgexError, match="outcome.npz: cannot be read"):
        read(NETWORK, loaded.source.identity, tmp_path)
