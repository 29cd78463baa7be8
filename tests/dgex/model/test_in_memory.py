"""Arrays, DataFrames and AnnData: the profiles that the same values in a file would have."""

import hashlib
import subprocess
import sys
import warnings
from dataclasses import replace

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import dgex
from dgex import __version__, parallel
from dgex.data.gene_names import read_names
from dgex.data.genes import Genes
from dgex.errors import DgexError
from dgex.formats.expression import in_memory
from dgex.model.directory import load_model, save_model
from dgex.model.in_memory import _table
from dgex.model.prediction import Request, predict_table

NAN = np.nan


@pytest.fixture(scope="module")
def landmark(small_data) -> np.ndarray:
    return small_data.landmark[:9]  # training profiles, which are not out of range


@pytest.fixture(scope="module")
def genes(small_model) -> tuple[str, ...]:
    return small_model.reference.landmark_genes.ensembl


@pytest.fixture(scope="module")
def whole(small_model, landmark, genes, tmp_path_factory):
    """The same by ``dgex.model.prediction``, which has tests of its own."""
    table, folder = in_memory(landmark, genes, [f"s{row}" for row in range(9)]), tmp_path_factory.mktemp("scratch")
    with predict_table(small_model, "it", table, Request(interval=0.9), parallel.devices(1), folder) as prediction:
        return prediction.expression, prediction.expression.load()


@pytest.fixture
def frame(landmark, genes) -> pd.DataFrame:
    return pd.DataFrame(landmark.copy(), [f"s{row}" for row in range(9)], genes)


def test_an_array(small_model, landmark, whole):
    before = landmark.copy()
    found = dgex.predict(small_model, landmark)
    assert isinstance(found, np.ndarray) and found.dtype == np.float32
    np.testing.assert_array_equal(found, whole[1])
    np.testing.assert_array_equal(landmark, before)
    np.testing.assert_array_equal(dgex.predict(small_model, landmark.astype(np.float64).tolist()), whole[1])
    np.testing.assert_array_equal(dgex.predict(small_model, landmark[:1]), whole[1][:1])


def test_what_may_be_asked(small_model, landmark):
    zscores = dgex.predict(small_model, landmark, input_scale="log2", output_scale="zscore", all_targets=True)
    scaler = small_model.reference.target_scaler
    log2 = dgex.predict(small_model, landmark, all_targets=True)
    assert zscores.shape == (9, 24 + 60)
    np.testing.assert_allclose(zscores[:, 24:] * scaler.sd + scaler.mean, log2[:, 24:], atol=1e-5)
    with pytest.raises(TypeError, match="unexpected"):
        dgex.predict(small_model, landmark, scale="log2")
    with pytest.raises(DgexError, match="input_scale is one of"):
        dgex.predict(small_model, landmark, input_scale="log10")


@pytest.mark.parametrize("turned", [False, True], ids=["profiles in rows", "profiles in columns"])
@pytest.mark.parametrize("naming", ["ensembl", "symbol"])
def test_a_data_frame(small_model, frame, whole, turned, naming):
    names = getattr(small_model.reference.landmark_genes, naming)
    frame = frame.set_axis(list(names), axis=1).iloc[:, ::-1]  # in any order
    found = dgex.predict(small_model, frame.T if turned else frame)
    found = found.T if turned else found
    assert isinstance(found, pd.DataFrame)
    assert tuple(found.columns) == whole[0].row_id and list(found.index) == list(frame.index)
    np.testing.assert_array_equal(found.to_numpy(), whole[1])


LABELS = {
    "numbers": pd.RangeIndex(9),
    "numbers from 5": pd.RangeIndex(5, 23, 2),
    "dates": pd.date_range("2024-02-27", periods=9, name="taken"),
    "two levels": pd.MultiIndex.from_product([["A375", "MCF7", "PC3"], [6, 24, 96]], names=["cell", "hours"]),
    "categories": pd.CategoricalIndex(list("abcdefghi")),
}


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_labels_of_profiles_stay_as_they_are(small_model, frame, whole, labels):
    """So that the result can be joined with what it was made from."""
    frame = frame.set_axis(labels, axis=0)
    found = dgex.predict(small_model, frame)
    pd.testing.assert_index_equal(found.index, labels)
    joined = found.join(frame.add_prefix("given "))
    assert joined.shape == (9, 76 + 24) and joined.index.names == labels.names
    np.testing.assert_array_equal(joined.to_numpy(), np.hstack([whole[1], frame.to_numpy()]))
    turned = dgex.predict(small_model, frame.T)
    pd.testing.assert_index_equal(turned.columns, labels)
    np.testing.assert_array_equal(turned.to_numpy(), whole[1].T)


@pytest.mark.parametrize("turned", [False, True], ids=["profiles in rows", "profiles in columns"])
def test_annotation_in_a_data_frame_is_no_profile(small_model, frame, whole, turned):
    annotated = frame.copy()
    annotated.columns = [f" {name} " for name in frame.columns]
    annotated.loc["Length"], annotated.loc["__no_feature"] = 1000.0, 7.0
    annotated["position"] = 3.5
    found = dgex.predict(small_model, annotated.T if turned else annotated)
    found = found.T if turned else found
    assert list(found.index) == list(frame.index)
    np.testing.assert_array_equal(found.to_numpy(), whole[1])


def test_the_best_column_of_a_quantifier_is_the_profile(small_model, frame, whole):
    quantified = pd.DataFrame({"Length": 1000, "NumReads": 2.0 * frame.loc["s0"], "TPM": frame.loc["s0"]})
    found = dgex.predict(small_model, quantified)
    assert list(found.columns) == ["TPM"]
    np.testing.assert_array_equal(found["TPM"].to_numpy(), whole[1][0])
    beside = quantified.assign(s1=1.0)
    with pytest.raises(DgexError, match="the DataFrame: holds 's1' beside 'TPM'"):
        dgex.predict(small_model, beside)


def test_annotation_in_an_anndata_is_no_profile(small_model, frame, whole):
    more = pd.concat([frame, pd.DataFrame(3.0, ["width"], frame.columns)])
    for data in (anndata.AnnData(more), anndata.AnnData(more.T)):
        data.var["start"] = np.arange(data.n_vars)
        found = dgex.predict(small_model, data)
        assert list(found.obs_names) == list(frame.index)
        np.testing.assert_array_equal(found.X, whole[1])


@pytest.mark.parametrize("name", ["entrez_id", "Entrez_Gene_ID"])
def test_a_column_of_entrez_ids_names_genes_and_is_no_profile(small_model, frame, name):
    known = [gene for gene in read_names() if gene.ensembl][500:524]
    genes = Genes(*zip(*((gene.ensembl[0], gene.symbols[0], f"{gene.entrez}_at") for gene in known), strict=True))
    model = replace(small_model, reference=replace(small_model.reference, landmark_genes=genes))
    expected = dgex.predict(model, frame.set_axis(list(genes.ensembl), axis=1)).T
    given = frame.T.set_axis([f"row {number}" for number in range(24)])
    given.insert(4, name, [int(gene.entrez) for gene in known])
    pd.testing.assert_frame_equal(dgex.predict(model, given.iloc[::-1]), expected)


def test_missing_texts_are_empty(small_model, frame):
    """As everywhere in ``Expression``, and not "nan" or "None", which some gene or tissue might be called."""
    texts = ["liver", None, NAN, "", "NA", *["skin"] * 4]
    kept = ["liver", "", "", "", "NA", *["skin"] * 4]
    given = frame.assign(
        plain=pd.Series(texts, frame.index, dtype=object),
        strings=pd.Series(texts, frame.index, dtype="string"),
        categories=pd.Series(texts, frame.index, dtype="category"),
        dates=pd.Series([pd.Timestamp("2024-02-27"), pd.NaT, *[pd.Timestamp("2024-03-01")] * 7], frame.index),
    )
    told = {name: column.tolist() for name, column in _table(small_model, given).sample_metadata.items()}
    assert list(told) == ["plain", "strings", "categories", "dates"]
    assert told["plain"] == told["strings"] == told["categories"] == kept
    assert told["dates"][0].startswith("2024-02-27") and told["dates"][1] == ""


def test_columns_of_text_are_no_genes(small_model, frame, whole):
    found = dgex.predict(small_model, frame.assign(tissue="liver"))
    assert found.shape == (9, 76)
    np.testing.assert_array_equal(found.to_numpy(), whole[1])


def test_numbers_that_are_objects_are_numbers(small_model, frame, whole):
    found = dgex.predict(small_model, frame.astype(object))
    np.testing.assert_array_equal(found.to_numpy(), whole[1])


def test_integers_and_missing_columns(small_model, landmark, genes):
    counts = pd.DataFrame(np.exp2(landmark).astype(int), [f"s{row}" for row in range(9)], genes)[:2]
    with pytest.warns(UserWarning, match="2 of 2 profiles lack landmarks") as told:
        found = dgex.predict(small_model, counts.drop(columns=genes[3]))
    assert told[0].filename == __file__  # where the user called it
    assert np.isfinite(found.to_numpy()).all()


@pytest.mark.parametrize("layout", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
def test_an_anndata(small_model, landmark, genes, whole, layout):
    adata = anndata.AnnData(layout(landmark))
    adata.var_names, adata.obs_names = list(genes), [f"s{row}" for row in range(9)]
    adata.obs["tissue"] = ["liver", "lung", "skin"] * 3
    found = dgex.predict(small_model, adata, interval=0.9)
    assert isinstance(found, anndata.AnnData)
    np.testing.assert_array_equal(found.X, whole[1])
    assert tuple(found.var_names) == whole[0].row_id and list(found.obs_names) == list(adata.obs_names)
    assert found.obs["tissue"].tolist() == ["liver", "lung", "skin"] * 3
    np.testing.assert_array_equal(found.obs["self_check_error"], whole[0].sample_metadata["self_check_error"])
    assert found.obs["self_check_error"].notna().all()
    for name, column in whole[0].row_metadata.items():
        np.testing.assert_array_equal(found.var[name].to_numpy(), column)
    assert "interval_90_per_expected_error" in found.var


def test_a_layer_of_an_anndata(small_model, landmark, genes, whole):
    adata = anndata.AnnData(landmark - 1000, var=pd.DataFrame(index=list(genes)))
    adata.layers["log"] = landmark
    np.testing.assert_array_equal(dgex.predict(small_model, adata, layer="log").X, whole[1])
    with pytest.raises(DgexError, match="AnnData: has no layer 'counts'; choose one of its 'log', 'X'"):
        dgex.predict(small_model, adata, layer="counts")
    with pytest.raises(DgexError, match="layer: only an AnnData has layers"):
        dgex.predict(small_model, landmark, layer="log")


def test_genes_of_an_anndata_by_a_column_of_var(small_model, landmark, whole):
    adata = anndata.AnnData(landmark, var=pd.DataFrame({"symbol": small_model.reference.landmark_genes.symbol},
                                                       [f"gene-{row}" for row in range(24)]))  # fmt: skip
    np.testing.assert_array_equal(dgex.predict(small_model, adata).X, whole[1])


def test_out_of_range_is_warned_of(small_model, landmark):
    strangers = landmark[:, np.random.default_rng(0).permutation(24)]
    with pytest.warns(UserWarning) as told:
        dgex.predict(small_model, strangers)
    said = [str(warning.message) for warning in told]
    assert said[0].startswith("9 of 9 profiles, such as 0, are out of range")
    assert said[1].startswith("well_inferred is left empty, since the self-check fails")
    assert said[2].startswith("Hidden landmarks of these profiles are inferred with a mean error of")


def test_gaps_are_warned_of(small_model, landmark):
    gaps = landmark.copy()
    gaps[4, :3] = NAN
    with pytest.warns(UserWarning) as told:
        found = dgex.predict(small_model, gaps)
    assert str(told[0].message).startswith("1 of 9 profiles lack landmarks (up to 3)")
    assert np.isfinite(found).all()


def test_no_warning_without_reason(small_model, landmark):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dgex.predict(small_model, landmark[:1])


@pytest.mark.parametrize("shape", [(24,), (9, 23), (24, 9), (0, 24), (1, 9, 24), ()])
def test_arrays_of_another_shape(small_model, shape):
    with pytest.raises(DgexError, match=r"is not \[profiles, 24 landmarks\]; order its columns as"):
        dgex.predict(small_model, np.ones(shape, np.float32))


def test_infinity(small_model, landmark, frame):
    infinite = landmark.copy()
    infinite[2, 2] = np.inf
    frame.iloc[2, 2] = -np.inf
    for data in (infinite, frame):
        with pytest.raises(DgexError, match="infinite values; use NaN for values not measured"):
            dgex.predict(small_model, data)


def test_a_sample_twice(small_model, frame):
    again = frame.iloc[[0, 1, 1]]
    table = anndata.AnnData(frame.iloc[:3])
    table.obs_names = again.index
    for given in (again, again.T, table):
        with pytest.raises(
            DgexError, match=f"^<{type(given).__name__}>: holds the sample s1 twice; make the ids unique"
        ):
            dgex.predict(small_model, given)


@pytest.mark.parametrize("turned", [False, True])
def test_labels_that_matter_not_may_repeat(small_model, frame, turned):
    """Columns of numbers and of text, none of which names a gene."""
    expected = dgex.predict(small_model, frame)
    frame.columns = small_model.reference.landmark_genes.symbol
    given = frame.assign(x=0.0, y=1.0, z="a", w="b").rename(columns=dict(x="", y="", z="", w=""))
    given = given.T.drop_duplicates().iloc[:26].astype(np.float32).T if turned else given
    found = dgex.predict(small_model, given.T if turned else given)
    pd.testing.assert_frame_equal(found.T if turned else found, expected, check_exact=True)


def test_rows_of_one_symbol_are_averaged(small_model, frame):
    expected = dgex.predict(small_model, frame)
    frame.columns = small_model.reference.landmark_genes.symbol
    twice = frame.iloc[:, [*range(24), 3]].copy()
    twice.iloc[:, 3] -= 1
    twice.iloc[:, 24] += 1
    np.testing.assert_allclose(dgex.predict(small_model, twice), expected, rtol=1e-6)


def test_what_is_empty(small_model, frame):
    for empty in (frame.iloc[:0], frame.astype(str), pd.DataFrame(), anndata.AnnData(frame.iloc[:0])):
        with pytest.raises(DgexError, match="holds .* rows and .* columns of numbers, is empty"):
            dgex.predict(small_model, empty)


def test_unknown_genes_are_told_of(small_model, frame):
    with pytest.raises(DgexError, match="^<DataFrame>: the landmarks are not recognised"):
        dgex.predict(small_model, frame.set_axis([f"gene-{row}" for row in range(24)], axis=1))


def test_arrays_need_neither_pandas_nor_anndata(small_model, tmp_path):
    """Both are extras; what was not imported made no argument."""
    save_model(tmp_path / "model", small_model)
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(9, 2, (1, 24)).astype(np.float32))
    code = (
        "import sys, warnings; warnings.simplefilter('ignore'); sys.modules['pandas'] = sys.modules['anndata'] = None; "
        "import numpy as np, dgex; del sys.modules['pandas'], sys.modules['anndata']; "
        "print(dgex.predict(dgex.load_model('model'), np.load('x.npy')).shape, 'pandas' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.strip() == "(1, 76) False", done.stderr


def test_what_has_no_place_for_intervals(small_model, small_data):
    with pytest.raises(DgexError, match="^interval: only an AnnData"):
        dgex.predict(small_model, small_data.landmark[:2], interval=0.9)


def test_a_path_is_no_data(small_model, tmp_path):
    with pytest.raises(DgexError, match="plate.gct: is a path"):
        dgex.predict(small_model, tmp_path / "plate.gct")


def test_what_made_it_is_said(small_model, frame, tmp_path):
    save_model(tmp_path / "mine", small_model)
    model = load_model(tmp_path / "mine")
    digest = hashlib.sha256((tmp_path / "mine/SHA256SUMS").read_bytes()).hexdigest()
    said = dgex.predict(model, frame, interval=None, output_scale="zscore").attrs["provenance"]
    assert said["model"] == {"name": "mine", "sha256": digest} and said["dgex"] == __version__
    assert said["input"] == {"name": "<DataFrame>", "scale": "log2"}
    assert said["options"]["output_scale"] == "zscore" and "interval" not in said["options"]
    assert dgex.predict(model, frame.T).attrs["provenance"]["model"] == said["model"]
    uns = dgex.predict(model, anndata.AnnData(frame), interval=0.9).uns["provenance"]
    assert uns["model"] == said["model"] and uns["options"]["interval"] == 0.9
    uns["model"].clear()  # the user's own
    assert model.source == said["model"]


def test_a_model_that_was_changed_is_not_the_one_that_was_read(small_model, frame, tmp_path):
    save_model(tmp_path / "mine", small_model)
    model = load_model(tmp_path / "mine")
    changed = replace(model, params=small_model.params)
    assert model.source and not changed.source and not small_model.source
    assert dgex.predict(changed, frame).attrs["provenance"]["model"] == {"name": "in memory"}
