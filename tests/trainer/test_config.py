"""Recipes: files, overrides, and a sentence for each way they can be wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeface.errors import ConfigError
from tests.conftest import ROOT
from trainer.config import Config, load_config, smoked

RECIPES = sorted((ROOT / "trainer" / "recipes").glob("*.toml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_shipped_recipes_are_valid_and_start_with_their_command(path: Path) -> None:
    load_config(path)
    assert f"python -m trainer fit trainer/recipes/{path.name}" in path.read_text()


def test_test_folds_are_never_trained_on() -> None:
    for path in RECIPES:
        config = load_config(path)
        assert not {0, 1} & {*config.train_folds, *config.validation_folds}, path


def test_names_to_exclude_are_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = ROOT / "trainer" / "recipes" / "small.toml"
    beside = recipe.with_name("near-duplicates.txt")
    assert Path(load_config(recipe).exclude) == beside and beside.is_file()
    (tmp_path / "near-duplicates.txt").write_text("")
    assert load_config(recipe).exclude == "near-duplicates.txt", "a file named from here comes first"
    assert load_config(recipe, ["exclude=mine.txt"]).exclude == "mine.txt", "an error is to name what was asked for"


def test_overrides_win_over_the_file(tmp_path: Path) -> None:
    recipe = tmp_path / "a.toml"
    recipe.write_text('epochs = 3\nname = "a"\nwidths = [8, 16]\ndepths = [1, 1]\n')
    config = load_config(recipe, ["epochs=5", "learning_rate=1", "out=some where", "train_folds=[4]"])
    assert (config.epochs, config.learning_rate, config.name) == (5, 1.0, "a")
    assert (config.out, config.train_folds, config.widths) == ("some where", (4,), (8, 16))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("epoch=3", "no key `epoch`, the nearest is `epochs`"),
        ("epochs", "--set epochs: expected key=value"),
        ("epochs=many", "`epochs`: expected int, found 'many'"),
        ("epochs=2.5", "`epochs`: expected int, found 2.5"),
        ("epochs=true", "`epochs`: expected int, found True"),
        ("widths=32", "`widths`: expected a list, found 32"),
        ("epochs=0", "`epochs`: expected 1 or more, found 0"),
        ("amp=half", "`amp`: expected auto or off or bf16 or fp16, found half"),
        ("depths=[1]", "`depths`: expected one per stage"),
        ("validation_folds=[3]", "`validation_folds`: expected folds that are not trained on"),
        ("train_folds=[]", "`train_folds`: expected one fold or more"),
        ("accumulate=0", "`accumulate`: expected 1 or more, found 0"),
        ("ema=1", "`ema`: expected 0 to below 1, found 1.0"),
        ("utkface_share=-1", "`utkface_share`: expected 0 or more, found -1.0"),
        ("erase=2", "`erase`: expected 0 to 1, found 2.0"),
        ('balance_over=["height"]', "`balance_over`: expected some of age, gender, race"),
    ],
)
def test_wrong_settings_say_what_is_wrong(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load_config(None, [override])
    assert message in str(raised.value)


def test_settings_that_do_not_go_together() -> None:
    with pytest.raises(ConfigError, match="`utkface`: expected data in utkface, fairface or manifests"):
        load_config(None, ["utkface=[]", "fairface=[]"])
    load_config(None, ["utkface=[]", "fairface=[]", 'manifests=["faces.csv"]'])
    with pytest.raises(ConfigError, match="`decoder`: expected false with mixup or cutmix"):
        load_config(None, ["decoder=true", "mixup=0.2"])


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_has_a_small_form(path: Path) -> None:
    small = load_config(path, ["smoke=true"])
    assert small.epochs <= 2 and small.batch <= 16 and 0 < small.limit <= 96 and small.input_size <= 75
    assert small == smoked(small) and small.backbone == load_config(path).backbone


def test_files_that_are_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no recipe at `.*none.toml`"):
        load_config(tmp_path / "none.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("epochs 3")
    with pytest.raises(ConfigError, match="recipe `.*broken.toml` is not valid TOML"):
        load_config(broken)


def test_the_template_is_centred_as_asked() -> None:
    points = Config(eye_distance=0.4, centre_y=0.5).alignment.template
    assert points[1][0] - points[0][0] == pytest.approx(0.4)
    assert (points[0][1] + points[3][1]) / 2 == pytest.approx(0.5)
