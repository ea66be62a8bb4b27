"""Cached machine code is never older than its sources, and the first compilation of a market is announced."""

import os
import pickle
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numba
import numpy as np
import pytest

import ioa_marl.agents
import ioa_marl.envs
import ioa_marl.markets
from ioa_marl.foundations import compile as compilation
from ioa_marl.foundations.compile import kernel, machine_code
from ioa_marl.foundations.imports import imported_files, source_file

SAID = "compiling shop, once: up to a minute"
TREE = {
    "shop/__init__.py": "",
    "shop/till/__init__.py": "",
    "shop/till/driver.py": """
from ioa_marl.foundations.compile import kernel
import shop.counter.helpers as h

@kernel
def total(prices):
    out = 0.0
    for i in range(prices.shape[0]):
        out += h.with_tax(prices[i])
    return out
""",
    "shop/counter/__init__.py": "",
    "shop/counter/helpers.py": """
from ioa_marl.foundations.compile import kernel
from ..stock import deep

@kernel
def with_tax(price):
    return deep.tax.add(price)
""",
    "shop/stock/__init__.py": "from ..unrelated import other\n",
    "shop/stock/deep/__init__.py": "from . import tax\n",
    "shop/stock/deep/tax.py": """
from ioa_marl.foundations.compile import kernel

RATE = 1.0

@kernel
def add(price):
    return price + RATE
""",
    "shop/unrelated.py": "other = 1\n",
}
PROGRAM = """
import numpy as np
from numba.core import event
from ioa_marl.foundations.philox import to_unit
from shop.till.driver import total
from shop.counter.helpers import with_tax
with event.install_recorder("numba:compile") as seen:
    print(total(np.arange(4.0)), with_tax(1.0), with_tax(np.float32(1.0)))
print(sorted({e.data["dispatcher"].py_func.__name__ for _, e in seen.buffer}))
"""


@pytest.fixture
def shop(tmp_path):
    """A small package of kernels, with a cache of its own; returns a function that plays it in a new process."""
    for name, text in TREE.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def play():
        environment = {**os.environ, "IOA_MARL_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(tmp_path)}
        return subprocess.run(
            [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True, cwd=tmp_path
        )

    return play


def test_the_cache_notices_edits_of_what_is_called_two_packages_away_and_of_nothing_else(shop, tmp_path):
    everything, nothing = ["add", "total", "with_tax"], []
    first = shop()
    assert first.stdout == f"10.0 2.0 2.0\n{everything}\n"
    assert first.stderr == f"{SAID}\n"
    again = shop()
    assert again.stdout == f"10.0 2.0 2.0\n{nothing}\n"
    assert again.stderr == ""
    for unrelated in ("shop/unrelated.py", "shop/__init__.py", "shop/stock/__init__.py"):
        (tmp_path / unrelated).write_text("other = 2\n")
    assert shop().stdout == f"10.0 2.0 2.0\n{nothing}\n"
    tax = tmp_path / "shop/stock/deep/tax.py"
    tax.write_text(tax.read_text().replace("RATE = 1.0", "RATE = 3.0"))
    assert shop().stdout == f"18.0 4.0 4.0\n{everything}\n"
    driver = tmp_path / "shop/till/driver.py"
    driver.write_text(driver.read_text().replace("out = 0.0", "out = 100.0"))
    assert shop().stdout == f"118.0 4.0 4.0\n{['total']}\n"


def kernels_of(package):
    """Return every kernel that is defined in the modules of a package, with its name."""
    found = {}
    for file in sorted(Path(package.__file__).parent.rglob("*.py")):
        relative = file.relative_to(Path(package.__file__).parent).with_suffix("")
        if "foundations.compile" not in file.read_text() or relative.name.startswith("__"):
            continue
        module = import_module(".".join([package.__name__, *relative.parts]))
        found |= {
            f"{module.__name__}.{name}": value
            for name, value in vars(module).items()
            if isinstance(value, compilation._Kernel) and value.py_func.__module__ == module.__name__
        }
    return found


def called_files(function, seen):
    """Collect the files of all kernels and modules that a function refers to at run time, directly or not."""
    if function in seen:
        return set()
    seen.add(function)
    files = {Path(function.__code__.co_filename)}
    for name in function.__code__.co_names:
        value = function.__globals__.get(name)
        if isinstance(value, ModuleType) and value.__name__.startswith("ioa_marl."):
            files.add(Path(value.__file__))
            inside = [getattr(value, attribute, None) for attribute in function.__code__.co_names]
        else:
            inside = [value]
        for referred in (v for v in inside if isinstance(v, compilation._Kernel)):
            files |= called_files(referred.py_func, seen)
    return files


@pytest.mark.parametrize("package", [ioa_marl.markets, ioa_marl.agents], ids=lambda p: p.__name__)
def test_everything_that_a_kernel_of_this_package_refers_to_is_found(package):
    kernels = kernels_of(package)
    assert kernels
    most = 0
    for name, compiled in kernels.items():
        module = compiled.py_func.__module__
        found = set(imported_files(source_file(module), module, frozenset({"ioa_marl"})).values())
        referred = called_files(compiled.py_func, set())
        assert referred <= found, name
        most = max(most, len(referred))
    assert most >= 6 or package is not ioa_marl.markets


def test_markets_do_not_depend_on_each_other_but_for_the_one_that_joins_two():
    def files(name):
        module = f"ioa_marl.markets.{name}"
        return set(imported_files(source_file(module), module, frozenset({"ioa_marl"})))

    assert not any("stackelberg" in name or "second_bid" in name for name in files("double_dutch.drivers"))
    needed = (
        "markets.double_dutch.kernels",
        "markets.stackelberg.follower",
        "foundations.philox",
        "foundations.compile",
    )
    assert {f"ioa_marl.{name}" for name in needed} <= files("two_tier.drivers")


def test_kernels_of_a_script_depend_on_what_lies_beside_it(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "side_room").mkdir()
    for name, text in {
        "side_script.py": "import side_file\nfrom side_room import kernels\nimport json\n",
        "side_file.py": "",
        "side_room/__init__.py": "",
        "side_room/kernels.py": "from ioa_marl.foundations.philox import to_unit\n",
        "side_stranger.py": "",
    }.items():
        (tmp_path / name).write_text(text)
    names = set(compilation.sources(tmp_path / "side_script.py", "__main__", ""))
    assert {"side_file", "side_room.kernels", "ioa_marl.foundations.philox", "ioa_marl.foundations.compile"} <= names
    assert not {"side_stranger", "side_room", "json"} & names


def test_kernels_of_a_module_that_is_run_depend_on_the_package_that_it_is_in(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "run_room").mkdir()
    (tmp_path / "run_room" / "__init__.py").touch()
    (tmp_path / "run_room" / "kernels.py").touch()
    (tmp_path / "run_room" / "play.py").write_text("from .kernels import f\n")
    found = compilation.sources(tmp_path / "run_room" / "play.py", "__main__", "run_room")
    assert tmp_path / "run_room" / "kernels.py" in found.values()


@kernel
def halve(x):
    return x / 2.0


@kernel
def quarters(values, out):
    for i in range(values.shape[0]):
        out[i] = halve(halve(values[i]))


def test_a_kernel_that_is_part_of_another_one_can_be_called_from_python_as_well():
    out = np.zeros(3)
    quarters(np.array([4.0, 8.0, 12.0]), out)
    assert out.tolist() == [1.0, 2.0, 3.0]
    assert halve(1.0) == 0.5
    machine_code(quarters, out, out)(np.array([20.0, 24.0, 28.0]), out)
    assert out.tolist() == [5.0, 6.0, 7.0]


def test_kernels_divide_by_zero_as_numpy_does():
    @kernel
    def share(x, y):
        return x / y

    assert share(1.0, 0.0) == np.inf


def test_kernels_survive_copying_to_another_process():
    assert pickle.loads(pickle.dumps(halve))(3.0) == 1.5


def as_if_in(module):
    def price(x):
        return x + 1.0

    price.__module__ = module
    return kernel(price)


@pytest.fixture
def announced(monkeypatch, caplog):
    """Return the lines that are logged from here on, as in a process without earlier announcements."""
    monkeypatch.setattr(compilation._announcer, "announced", set())
    monkeypatch.setattr(compilation, "_folder_of", lambda *_: None)
    return lambda: [(record.levelname, record.getMessage()) for record in caplog.records]


def test_first_use_is_announced_once_for_each_market(announced):
    for market in ("bazaar", "bazaar", "exchange", "bazaar"):
        as_if_in(f"ioa_marl.markets.{market}.kernels")(1.0)
    often = "in every process, for want of a folder that keeps it: up to a minute"
    assert announced() == [("WARNING", f"compiling {market}, {often}") for market in ("bazaar", "exchange")]


@pytest.mark.parametrize(
    "module",
    [
        "ioa_marl.agents.networks.optimiser",
        "ioa_marl.foundations.philox",
        "ioa_marl.foundations.ledger",
        "ioa_marl.markets.common.physics",
    ],
)
def test_kernels_of_no_market_are_not_announced(announced, module):
    assert as_if_in(module)(1.0) == 2.0
    assert announced() == []


def test_functions_that_a_person_compiles_with_numba_are_not_announced(announced):
    assert numba.njit(lambda x: x + 1.0)(1.0) == 2.0
    assert announced() == []


COMMAND = """
import sys
from ioa_marl.foundations import output
output.prepare()
with output.without_messages(sys.argv[1] == "quiet"):
    from shop.counter.helpers import with_tax
    print(with_tax(1.0))
"""


@pytest.mark.parametrize(("how", "said"), [("", f"ioa-marl: {SAID}\n"), ("quiet", "")])
def test_the_command_says_it_in_its_own_way_unless_it_is_quiet(shop, tmp_path, how, said):
    environment = {**os.environ, "IOA_MARL_CACHE": str(tmp_path / "fresh"), "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", COMMAND, how]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert (done.stdout, done.stderr) == ("2.0\n", said)


@pytest.mark.slow
def test_training_says_that_it_compiles_the_first_time_and_with_quiet_never(tmp_path):
    def train(cache, *more):
        command = [
            sys.executable, "-m", "ioa_marl", "train", "env=second_bid", "agent=random", "seeds=1", "budget=64", *more,
            "evaluation.episodes=2", "evaluation.points=1", f"runs={tmp_path / cache / 'runs'}",
        ]  # fmt: skip
        environment = {**os.environ, "IOA_MARL_CACHE": str(tmp_path / cache)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return [line for line in done.stderr.splitlines() if "compiling" in line]

    assert train("first") == ["ioa-marl: compiling second_bid, once: up to a minute"]
    shutil.rmtree(tmp_path / "first" / "runs")
    assert train("first") == []
    assert train("second", "--quiet") == []
