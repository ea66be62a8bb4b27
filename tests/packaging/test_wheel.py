import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_wheel_contains_only_the_package(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"ioa_marl"}


def test_wheel_contains_every_module_and_setting(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder, package in (("ioa_marl", ""), ("envs", "envs/"), ("agents", "agents/"), ("conf", "conf/")):
        for file in (ROOT / folder).rglob("*"):
            if file.suffix in (".py", ".yaml") or file.name == "py.typed":
                assert f"ioa_marl/{package}{file.relative_to(ROOT / folder).as_posix()}" in names


def test_installed_wheel_lists_its_agents_from_an_empty_folder(installed, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    environment = {"PYTHONPATH": str(installed), "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    where = "import ioa_marl, ioa_marl.envs; print(ioa_marl.__file__, ioa_marl.envs.__file__)"
    command = [sys.executable, "-c", where]
    files = subprocess.run(command, cwd=empty, env=environment, capture_output=True, text=True, check=True).stdout
    assert files.count(str(installed)) == 2
    listed = subprocess.run(
        [sys.executable, installed / "bin" / "ioa-marl", "list"],
        cwd=empty, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in ("double_dutch", "ppo", "sac", "oracle"):
        assert name in listed.stdout
    assert "BROKEN" not in listed.stdout
    assert list(empty.iterdir()) == []


@pytest.mark.parametrize("folder", ["envs", "agents", "conf"])
def test_folders_cannot_be_imported_under_a_second_name(folder):
    done = subprocess.run(
        [sys.executable, "-c", f"import {folder}"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert f"import this package as ioa_marl.{folder}" in done.stderr
