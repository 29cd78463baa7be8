"""The examples in docstrings give what they say, and the public names that should have one do."""

import doctest
import importlib

import pytest

EXAMPLES = {
    "dgex.taaf": {"taaf", "TAAF"},
    "dgex.networks": {"NetworkConfig"},
    "dgex.training": {"fit"},
    "dgex.estimator": {"TAAFRegressor"},
    "dgex.model.directory": {"load_model"},
    "dgex.model.in_memory": {"predict"},
}


@pytest.mark.parametrize("module", EXAMPLES)
def test_examples(module: str) -> None:
    tests = [test for test in doctest.DocTestFinder().find(importlib.import_module(module)) if test.examples]
    assert EXAMPLES[module] <= {test.name.removeprefix(f"{module}.") for test in tests}
    runner = doctest.DocTestRunner()
    for test in tests:
        runner.run(test)
    assert runner.summarize(verbose=False).failed == 0
