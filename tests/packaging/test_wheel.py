import json
import shutil
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
            if file.suffix in (".py", ".pyi", ".yaml") or file.name == "py.typed":
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


def names_in(archive):
    return sorted(name for name in zipfile.ZipFile(archive).namelist() if ".dist-info/" not in name)


def built(folder, out):
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", out]
    subprocess.run([*pip, folder], check=True)
    (found,) = out.glob("*.whl")
    return names_in(found)


@pytest.mark.parametrize("links", ["missing", "text", "resolved"])
def test_an_archive_without_links_installs_the_same_files(copy_of_the_project, wheel, tmp_path, links):
    """Some archives lack links, others have files with their text in their place, or copies of the folders."""
    source = tmp_path / "source"
    shutil.copytree(copy_of_the_project, source, symlinks=links != "resolved")
    for folder in ("envs", "agents", "conf"):
        link = source / "ioa_marl" / folder
        if links != "resolved":
            link.unlink()
        if links == "text":
            link.write_text(f"../{folder}")
    assert built(source, tmp_path / "out") == names_in(wheel)


def test_the_source_distribution_has_every_file_once_and_installs_the_same_files(copy_of_the_project, wheel, tmp_path):
    source = tmp_path / "source"
    shutil.copytree(copy_of_the_project, source, symlinks=True)
    backend = "from setuptools import build_meta; print(build_meta.build_sdist('out'))"
    (source / "out").mkdir()
    done = subprocess.run([sys.executable, "-c", backend], cwd=source, capture_output=True, text=True, check=True)
    shutil.unpack_archive(source / "out" / done.stdout.split()[-1], tmp_path / "unpacked")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    assert not any((unpacked / "ioa_marl" / folder).exists() for folder in ("envs", "agents", "conf"))
    assert (unpacked / "envs" / "core.py").is_file()
    assert built(unpacked, tmp_path / "wheel") == names_in(wheel)


MODULES = """
import json, pkgutil, site, sys
site.addsitedir(sys.argv[1])
import ioa_marl
def walk(package):
    for found in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        yield found.name
        if found.ispkg:
            yield from walk(__import__(found.name, fromlist=["x"]))
print(json.dumps(sorted(walk(ioa_marl))))
"""


@pytest.mark.parametrize("links", [True, False])
def test_an_editable_install_has_the_modules_of_the_wheel(copy_of_the_project, wheel, tmp_path, links):
    source, target = tmp_path / "source", tmp_path / "site"
    shutil.copytree(copy_of_the_project, source, symlinks=True)
    if not links:
        for folder in ("envs", "agents", "conf"):
            (source / "ioa_marl" / folder).unlink()
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--target", target]
    subprocess.run([*pip, "--editable", source], check=True)
    command = [sys.executable, "-c", MODULES, target]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    modules = {
        name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for name in names_in(wheel)
        if name.endswith(".py")
    }
    assert set(json.loads(done.stdout)) | {"ioa_marl"} >= modules
