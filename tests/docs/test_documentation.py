"""What the documentation shows is run."""

import doctest
import importlib
import re
from pathlib import Path

import pytest

from ioa_marl import registry

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_code_of_the_readme_runs(number, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # A module of its own: dataclasses look their module up.
    exec(compile(BLOCKS[number], f"README block {number}", "exec"), {"__name__": "__main__"})


def test_readme_has_its_examples():
    assert len(BLOCKS) >= 5


def test_readme_names_everything_that_is_registered():
    readme = (ROOT / "README.md").read_text()
    missing = [name for name in (*registry.MARKETS, *registry.AGENTS) if f"`{name}`" not in readme]
    assert not missing, f"README does not name {missing}"


def modules_with_examples():
    """Return the names of all modules of the package with an example in a docstring."""
    folders = {"ioa_marl": "ioa_marl", "envs": "ioa_marl.envs", "agents": "ioa_marl.agents"}
    for folder, package in folders.items():
        for file in sorted((ROOT / folder).rglob("*.py")):
            if ">>>" in file.read_text():
                parts = file.relative_to(ROOT / folder).with_suffix("").parts
                yield ".".join([package, *(part for part in parts if part != "__init__")])


EXAMPLES = sorted(set(modules_with_examples()))


@pytest.mark.parametrize("module", EXAMPLES)
def test_examples_in_docstrings_hold(module):
    result = doctest.testmod(importlib.import_module(module))
    assert result.attempted > 0
    assert result.failed == 0


def test_there_are_examples():
    assert "ioa_marl.markets.double_dutch.auction" in EXAMPLES
    assert len(EXAMPLES) >= 8


PAGES = sorted(path.relative_to(ROOT).as_posix() for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")))


@pytest.mark.parametrize("file", PAGES)
def test_links_to_files_lead_somewhere(file):
    for target in re.findall(r"\]\(([^)#:]+)\)", (ROOT / file).read_text()):
        assert (ROOT / file).parent.joinpath(target).exists(), target


@pytest.mark.parametrize("file", PAGES)
def test_modules_and_paths_that_pages_name_exist(file):
    text = (ROOT / file).read_text()
    for name in set(re.findall(r"\bioa_marl(?:\.[a-z_0-9]+)+", text)):
        parts = name.split(".")
        while True:  # the module, and then attributes of it
            try:
                found = importlib.import_module(".".join(parts))
                break
            except ModuleNotFoundError:
                parts.pop()
        for attribute in name.split(".")[len(parts) :]:
            found = getattr(found, attribute)
    for path in set(re.findall(r"`((?:ioa_marl|envs|agents|conf|tests|benchmarks|docs)/[\w/.]+)`", text)):
        if file != "CHANGELOG.md":
            assert (ROOT / path).exists(), path
