"""What the pages on publishing, R, Snakemake and containers tell a user to type does what they say."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import numpy as np
import pandas
import pytest

import dgex
from dgex.errors import DgexError
from dgex.formats.gct import write_gct
from dgex.formats.opening import open_expression
from dgex.model.published import find_model

ROOT = Path(__file__).resolve().parents[2]
PRETRAINED, _ = find_model(None, ())


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text()


def blocks(name: str, language: str) -> str:
    """All code of a page in a language."""
    return "\n".join(re.findall(rf"^```{language}\n(.*?)^```$", page(name), re.MULTILINE | re.DOTALL))


def commands(name: str) -> list[str]:
    """The indented lines of a page."""
    return re.findall(r"^    (\S.*)$", page(name), re.MULTILINE)


def environment(**more: str) -> dict[str, str]:
    """This process's, with this dgex before any that is installed."""
    paths = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    return os.environ | paths | more


@pytest.fixture(scope="module")
def landmarks() -> pandas.DataFrame:
    """Made-up profiles of the model's landmarks, in columns, by symbol."""
    genes, scaler = dgex.load_model().reference.landmark_genes, dgex.load_model().reference.landmark_scaler
    zscores = np.random.default_rng(0).normal(size=(943, 1)) + np.random.default_rng(1).normal(size=(943, 3)) / 2
    return pandas.DataFrame(scaler.mean[:, None] + scaler.sd[:, None] * zscores, genes.symbol, ["a-1", "b 2", "c"])


def test_a_card_may_be_edited_before_it_is_published(tmp_path):
    shutil.copytree(PRETRAINED, tmp_path / "model")
    card = next((tmp_path / "model").glob("*.md")).rename(tmp_path / "model" / "README.md")
    card.write_text(card.read_text() + "\nLicence: MIT\n")
    with pytest.raises(DgexError):
        dgex.load_model(tmp_path / "model")
    (remake,) = [line for line in commands("publishing.md") if "> SHA256SUMS" in line]
    subprocess.run(remake, shell=True, cwd=tmp_path, check=True)
    assert dgex.load_model(tmp_path / "model").config == dgex.load_model().config


def test_an_archive_as_the_page_makes_it(tmp_path, serve, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shutil.copytree(PRETRAINED, tmp_path / "model")
    pack, digest, *_ = [line for line in commands("publishing.md") if "model.tar.gz" in line]
    subprocess.run(pack, shell=True, cwd=tmp_path, check=True)
    printed = subprocess.run(digest, shell=True, cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    class Archive(BaseHTTPRequestHandler):
        def do_GET(self):
            content = (tmp_path / "model.tar.gz").read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    loaded = dgex.load_model(f"{serve(Archive)}/model.tar.gz#sha256={printed.split()[0]}")
    assert loaded.source["sha256"] == hashlib.sha256((PRETRAINED / "SHA256SUMS").read_bytes()).hexdigest()


@pytest.mark.slow
def test_the_snakemake_rule(landmarks, tmp_path):
    if shutil.which("snakemake") is None:
        pytest.skip("snakemake is not on the PATH; pip install snakemake")
    (tmp_path / "Snakefile").write_text(blocks("snakemake.md", "snakemake"))
    (tmp_path / "plates").mkdir()
    landmarks.to_csv(tmp_path / "plate.csv")
    with open_expression(tmp_path / "plate.csv", None) as table:
        for name in ("one", "two"):
            write_gct(tmp_path / "plates" / f"{name}.gct.gz", table)
    command = ["snakemake", "--cores", "2", "--config", f"model={PRETRAINED}"]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    made = sorted(path.name for path in (tmp_path / "profiles").iterdir())
    assert made == ["one.gctx", "one.html", "two.gctx", "two.html"]
    assert "10,018 genes" in (tmp_path / "logs" / "one.txt").read_text()


def has_reticulate() -> bool:
    """Whether R is there, with a reticulate that knows NumPy 2."""
    asked = ["Rscript", "-e", "quit(status = packageVersion('reticulate') < '1.38')"]
    return shutil.which("Rscript") is not None and subprocess.run(asked, capture_output=True).returncode == 0


@pytest.mark.slow
def test_the_code_in_r(landmarks, tmp_path):
    if not has_reticulate():
        pytest.skip("there is no R with reticulate 1.38 or newer")
    reference = dgex.load_model().reference
    others = ~np.isin(reference.target_genes.ensembl, reference.landmark_genes.ensembl)
    levels = np.concatenate([reference.landmark_scaler.mean, reference.target_scaler.mean[others]])
    names = [*reference.landmark_genes.ensembl, *np.array(reference.target_genes.ensembl)[others]]
    noise = np.random.default_rng(2).normal(size=(len(names), 3)) / 2
    pandas.DataFrame(levels[:, None] + noise, names, ["own1", "own2", "own3"]).to_csv(tmp_path / "own.csv")
    landmarks.to_csv(tmp_path / "plate.csv")
    checks = """
    write.csv(profiles, "profiles.csv")
    stopifnot(dim(zscores) == dim(profiles), dim(half_width) == c(3, 10018), file.exists("page.html"))
    stopifnot(rownames(genes) == rownames(profiles), rownames(samples) == colnames(profiles), "mine" %in% model_names)
    stopifnot(all(is.finite(half_width[, genes$kind == "inferred"])), dim(calibrated) == dim(profiles))
    stopifnot(scores[[1]]$network$zscore_mae > 0)
    """
    program = re.sub(r"use_virtualenv.*\n", "", blocks("from-r.md", "r"))
    (tmp_path / "page.R").write_text(f"{program}\nmodel_names <- mine$reference$platforms$name\n{checks}")
    done = subprocess.run(
        ["Rscript", "page.R"],
        cwd=tmp_path,
        env=environment(RETICULATE_PYTHON=sys.executable),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    in_r = pandas.read_csv(tmp_path / "profiles.csv", index_col=0)
    expected = dgex.predict(dgex.load_model(), landmarks)
    np.testing.assert_allclose(in_r.to_numpy(), expected.to_numpy(), rtol=1e-6)
    assert list(in_r.index) == list(expected.index)


def test_the_dockerfile_takes_what_there_is():
    """Its sources exist and are not ignored, its extras are declared, and what it starts is a script."""
    text = (ROOT / "Dockerfile").read_text()
    sources = [
        source for line in re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.MULTILINE) for source in line.split()
    ]
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert set(sources) == allowed and all((ROOT / source).exists() for source in sources)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (extras,) = re.findall(r"\.whl\)\[([\w,]+)\]", text)
    assert set(extras.split(",")) <= project["optional-dependencies"].keys()
    assert project["scripts"].keys() >= {"dgex", "dgex-prepare"} and 'ENTRYPOINT ["dgex"]' in text
