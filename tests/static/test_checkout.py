"""The checkout can be read by tools as it is: types, import contracts, names that lead somewhere, no file twice."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("envs", "agents", "conf")
BIN = Path(sys.executable).parent


def run(*command):
    environment = {**os.environ, "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_everything_is_typed_strictly():
    status, output = run(BIN / "mypy", "-p", "ioa_marl")
    assert status == 0, output
    checked = int(re.search(r"no issues found in (\d+) source files", output)[1])
    modules = sum(len(list((ROOT / folder).rglob("*.py"))) for folder in ("ioa_marl", *FOLDERS))
    # The folders of settings are packages without a file of their own, and are counted as well.
    settings = {file.parent for file in (ROOT / "conf").rglob("*.yaml")} - {ROOT / "conf"}
    assert checked == modules + len(settings)


def test_layers_import_only_downwards():
    status, output = run(BIN / "lint-imports", "--no-cache")
    assert status == 0, output
    assert "0 broken" in output


def test_every_imported_name_is_found_without_an_installed_copy():
    status, output = run(BIN / "pyright", "--pythonpath", sys.executable)
    assert status == 0, output
    assert "0 errors" in output


@pytest.mark.parametrize("folder", FOLDERS)
def test_top_level_folders_are_folders_and_the_package_links_to_them(folder):
    assert (ROOT / folder).is_dir()
    assert not (ROOT / folder).is_symlink()
    assert (ROOT / "ioa_marl" / folder).readlink() == Path("..") / folder


@pytest.mark.parametrize("folder", FOLDERS)
def test_folders_cannot_be_imported_under_a_second_name(folder):
    status, output = run(sys.executable, "-c", f"import {folder}")
    assert status == 1
    assert output.splitlines()[-1] == (
        f"ImportError: import this package as ioa_marl.{folder}, not from the repository's folder"
    )


def test_no_file_is_linted_or_measured_twice(tmp_path):
    _, output = run(BIN / "ruff", "check", "--show-files", ".")
    files = [Path(line).resolve() for line in output.split()]
    assert ROOT / "envs" / "core.py" in files
    assert len(files) == len(set(files))
    data = tmp_path / "coverage"
    script = tmp_path / "used.py"
    script.write_text("from ioa_marl.envs.double_dutch import DoubleDutchGame")
    assert run(BIN / "coverage", "run", f"--data-file={data}", script)[0] == 0
    report = tmp_path / "report.json"
    assert run(BIN / "coverage", "json", f"--data-file={data}", "-o", report)[0] == 0
    measured = [(ROOT / name).resolve() for name in json.loads(report.read_text())["files"]]
    assert ROOT / "envs" / "core.py" in measured
    assert len(measured) == len(set(measured))


class Editor:
    """A client of pyright's language server: what an editor asks when a name is clicked on."""

    def __init__(self):
        command = [BIN / "pyright-langserver", "--stdio"]
        self.server = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        folder = {"uri": ROOT.as_uri(), "name": "checkout"}
        self.ask(
            "initialize",
            {"processId": None, "rootUri": ROOT.as_uri(), "capabilities": {}, "workspaceFolders": [folder]},
        )
        self.send({"method": "initialized", "params": {}})

    def send(self, message):
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self.server.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self.server.stdin.flush()

    def receive(self):
        length = 0
        while line := self.server.stdout.readline().strip():
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        return json.loads(self.server.stdout.read(length))

    def ask(self, method, params):
        self.send({"id": method, "method": method, "params": params})
        while (answer := self.receive()).get("id") != method or "method" in answer:
            if "method" in answer and "id" in answer:  # the server asks for settings
                items = answer.get("params", {}).get("items", [])
                self.send({"id": answer["id"], "result": [{"pythonPath": sys.executable} for _ in items]})
        return answer["result"]

    def definition(self, file, name):
        """Return the file in which a name that a file imports is defined."""
        text = (ROOT / file).read_text()
        line = next(i for i, line in enumerate(text.splitlines()) if re.search(rf"import .*\b{name}\b", line))
        place = {"line": line, "character": text.splitlines()[line].rindex(name) + 1}
        document = {"uri": (ROOT / file).as_uri()}
        self.send({"method": "textDocument/didOpen", "params": {"textDocument": {
            **document, "languageId": "python", "version": 1, "text": text}}})  # fmt: skip
        (found,) = self.ask("textDocument/definition", {"textDocument": document, "position": place})
        return Path(found["uri"].removeprefix("file://")).resolve()


@pytest.mark.parametrize(
    ("file", "name", "defined"),
    [
        ("envs/double_dutch_v0.py", "DoubleDutchGame", "envs/double_dutch/game.py"),
        ("envs/double_dutch/game.py", "PhasedGame", "envs/phased.py"),
        ("agents/learners/ppo.py", "Agent", "agents/base.py"),
        ("tests/plugin/example_plugin/example_plugin/market.py", "PhasedGame", "envs/phased.py"),
        ("ioa_marl/cli.py", "UserError", "ioa_marl/foundations/errors.py"),
    ],
)  # fmt: skip
def test_an_editor_goes_to_the_definition(editor, file, name, defined):
    assert editor.definition(file, name) == ROOT / defined


@pytest.fixture(scope="module")
def editor():
    client = Editor()
    yield client
    client.server.kill()
    client.server.wait()
