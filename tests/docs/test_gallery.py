"""The pictures in the README are those that ``docs/make_gallery.py`` draws."""

import importlib.util
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ioa_marl import registry

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "docs" / "make_gallery.py"
SHOWN = re.findall(r"!\[[^\]]*\]\(docs/images/([^)]+)\)", (ROOT / "README.md").read_text())
MARKETS = [name for name in registry.env_names() if registry.entry("environment", name).source == "ioa_marl"]

pytestmark = pytest.mark.skipif(not SCRIPT.exists(), reason="the documentation is not beside the tests")


@pytest.fixture(scope="module")
def gallery():
    spec = importlib.util.spec_from_file_location("make_gallery", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.mark.parametrize("picture", SHOWN)
def test_every_picture_of_the_readme_exists_and_can_be_drawn_again(gallery, picture):
    path = ROOT / "docs" / "images" / picture
    assert path.exists()
    assert path.stem in gallery.GALLERY
    assert path.stat().st_size <= gallery.MAX_BYTES


@pytest.mark.parametrize("market", MARKETS)
def test_every_market_of_the_suite_is_in_the_gallery(gallery, market):
    assert market in gallery.GALLERY
    assert f"{market}.png" in SHOWN


@pytest.mark.parametrize("market", MARKETS)
def test_picture_is_the_one_that_the_script_draws(gallery, market, tmp_path):
    assert gallery.main([market, "--out", str(tmp_path)]) == 0
    drawn = np.asarray(Image.open(tmp_path / f"{market}.png").convert("RGB")).astype(int)
    kept = np.asarray(Image.open(gallery.IMAGES / f"{market}.png").convert("RGB")).astype(int)
    assert drawn.shape == kept.shape
    # Letters may come out a little differently with another Matplotlib.
    assert (np.abs(drawn - kept).max(axis=2) > 32).mean() < 0.03


def test_picture_is_of_a_market_that_is_under_way(gallery):
    game = gallery.play("double_dutch", gallery.GALLERY["double_dutch"])
    assert game.market.winners[0].min() == 3
    assert "s' turn" in game.render("ansi")


def test_a_moment_after_the_end_is_refused(gallery):
    with pytest.raises(SystemExit, match=r"double_dutch: the episode ends after \d+ steps, the picture is of step 999"):
        gallery.play("double_dutch", gallery.Scene("paper", "two_phase", 999))


def test_a_market_that_is_not_there_is_told_and_the_others_are_drawn(gallery, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gallery, "GALLERY", {"nowhere": gallery.Scene("a", "b", 1), **gallery.GALLERY})
    assert gallery.main(["nowhere", "double_dutch", "--out", str(tmp_path)]) == 1
    assert "nowhere: skipped, no market of this name is registered" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["double_dutch.png"]
