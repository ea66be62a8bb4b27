"""The imports of a file are found for every style of import, and no other files are."""

import itertools

import pytest

from ioa_marl.foundations.imports import imported_files, source_file

_number = itertools.count()

STYLES = [
    "import shop.stock.deep.price\nvalue = shop.stock.deep.price.value",
    "import shop.stock.deep.price as p\nvalue = p.value",
    "import shop.stock.deep as deep\nvalue = deep.price.value()",
    "import shop\nvalue = shop.stock.deep.price.value",
    "from shop.stock.deep import price",
    "from shop.stock.deep import (\n    other as o,\n    price as p,\n)",
    "from shop.stock.deep.price import value",
    "from shop.stock.deep.price import *",
    "from shop.stock import deep\nvalue = deep.price.value",
    "from shop import stock as s\nvalue = [s.deep.price.value(i) for i in range(3)]",
    "from ..stock.deep import price",
    "from ..stock.deep.price import value as v",
    "from .. import stock\nvalue = stock.deep.price.value",
    "from .neighbour import value",
    "from . import neighbour",
    "def f():\n    from shop.stock.deep.price import value\n    return value",
    "def f():\n    import shop.stock.deep.price as p\n    return p.value",
    "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from shop.stock.deep.price import value",
    "try:\n    import none as s\nexcept ImportError:\n    import shop.stock as s\nvalue = s.deep.price.value",
    "from shop.window import value",
    "from shop.window import shown",
    "from shop.window import lazy",
    "from shop.window import outside",
    "import shop.window as w\nvalue = w.value",
    "from shop.loose.part import value",
    "from shop.loose import part",
]
TREE = {
    "": "",
    "till": "",
    "till.neighbour": "from shop.stock.deep.price import value\n",
    "stock": "",
    "stock.deep": "",
    "stock.deep.price": "def value(): return 1\n",
    "stock.deep.other": "",
    "loose.part": "from ..stock.deep import price\n",
    # A room that hands on what is defined elsewhere, in four ways.
    "window": (
        "from ..stock.deep.price import value\n"
        "from shop.window.display import other as shown\n"
        "if TYPE_CHECKING:\n    from shop.stock.deep.price import lazy\n"
        "from shop.till import neighbour\noutside = neighbour.value\n"
    ),
    "window.display": "import shop.stock.deep.price as p\nother = p.value\n",
    "window.stranger": "",
}
ROOMS = ("", "till", "stock", "stock.deep", "window")


def build(folder, name, driver):
    """Write the tree as a package with a new name, so that no cache of another test applies."""
    for module, text in {**TREE, "till.driver": driver}.items():
        parts = [name, *filter(None, module.split("."))]
        path = folder.joinpath(*parts, "__init__.py") if module in ROOMS else folder.joinpath(*parts).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("shop", name))
    return folder / name / "till" / "driver.py"


@pytest.fixture
def imports(tmp_path, monkeypatch):
    """Return what a driver imports, by the names of modules."""
    monkeypatch.syspath_prepend(tmp_path)

    def ask(text):
        name = f"shop{next(_number)}"
        driver = build(tmp_path, name, text)
        files = imported_files(driver, f"{name}.till.driver", frozenset({name}))
        assert files.pop(f"{name}.till.driver") == driver
        assert all(source_file(module) == file for module, file in files.items())
        return {module.removeprefix(f"{name}").removeprefix(".") for module in files}

    return ask


@pytest.mark.parametrize("style", STYLES)
def test_an_import_is_found_in_every_style(imports, style):
    assert "stock.deep.price" in imports(style)


@pytest.mark.parametrize("style", STYLES)
def test_what_is_not_imported_is_not_found(imports, style):
    assert "window.stranger" not in imports(style)


def test_a_module_is_found_without_the_package_that_it_is_in(imports):
    assert imports("from shop.stock.deep import price") == {"stock.deep.price"}
    assert imports("from shop.stock.deep.price import value") == {"stock.deep.price"}


def test_a_name_that_is_handed_on_leads_to_where_it_is_defined_and_not_to_the_rest_of_the_package(imports):
    assert imports("from shop.window import value") == {"stock.deep.price"}
    assert imports("from shop.window import shown") == {"window.display", "stock.deep.price"}


def test_a_package_counts_where_it_defines_a_name_itself(imports):
    assert "window" in imports("from shop.window import outside")


def test_a_package_counts_where_it_cannot_be_told_what_it_hands_on(imports, monkeypatch):
    for cannot_be_told in ("def __getattr__(name): ...", "from shop.till.neighbour import *"):
        monkeypatch.setitem(TREE, "window", cannot_be_told)
        assert "window" in imports("from shop.window import anything")
        assert {"window", "window.stranger"} <= imports("from shop.window import stranger")


def test_a_name_that_is_both_a_module_and_defined_in_its_package_leads_to_both(imports, monkeypatch):
    monkeypatch.setitem(TREE, "window", "def display(): ...\n")
    assert {"window", "window.display"} <= imports("from shop.window import display")


def test_packages_that_hand_names_on_to_each_other_are_no_endless_loop(imports, monkeypatch):
    monkeypatch.setitem(TREE, "window", "from shop.stock import round\n")
    monkeypatch.setitem(TREE, "stock", "from shop.window import round\n")
    assert imports("from shop.window import round") == {"window", "stock"}


def test_other_packages_are_not_followed(imports):
    assert imports("import json\nimport numpy as np\nfrom numpy.linalg import norm\nx = np.random.default_rng") == set()


def test_nothing_is_imported_to_find_out(imports, monkeypatch):
    monkeypatch.setitem(TREE, "stock", "raise RuntimeError('imported')\n")
    monkeypatch.setitem(TREE, "", "raise RuntimeError('imported')\n")
    assert imports("from shop.stock.deep.price import value") == {"stock.deep.price"}


def test_a_file_that_is_no_python_imports_nothing(imports):
    assert imports("from shop import (\n") == set()


def test_what_was_read_is_kept_and_read_again_where_that_is_damaged(tmp_path, monkeypatch, imports):
    cache = tmp_path / "cache"
    monkeypatch.setenv("IOA_MARL_CACHE", str(cache))
    expected = imports("from ..stock.deep import price\n")
    kept = sorted((cache / "imports").iterdir())
    assert kept
    for damage in ("", "[]", "{}", '{"imported": [["a"]], "bound": []}'):
        for file in kept:
            file.write_text(damage)
        assert imports("from ..stock.deep import price\n") == expected
        assert sorted((cache / "imports").iterdir()) == kept
        assert all('"imported"' in file.read_text() for file in kept)


def test_where_nothing_can_be_kept_files_are_read_again(tmp_path, monkeypatch, imports):
    (tmp_path / "file").touch()
    monkeypatch.setenv("IOA_MARL_CACHE", str(tmp_path / "file"))
    assert imports("from ..stock.deep import price") == {"stock.deep.price"}
