"""The gallery is whole; that its examples run, the build of the documentation shows, which runs them all."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def test__gallery__every_example__has_a_place_in_the_order_of_reading():
    conf = ast.parse((ROOT / "docs" / "conf.py").read_text(encoding="utf-8"))
    named = {ast.unparse(part.targets[0]): part.value for part in conf.body if isinstance(part, ast.Assign)}
    order = ast.literal_eval(named["EXAMPLES"])
    assert sorted(order) == [file.name for file in EXAMPLES]


def test__gallery__each_example__has_a_title_of_its_own_and_shows_a_figure():
    titles = set()
    gallery = [file for file in EXAMPLES if file.name.startswith("plot_")]
    for file in gallery:
        module = ast.parse(file.read_text(encoding="utf-8"))
        title, line, blank, text, *_ = (ast.get_docstring(module) or "").split("\n")
        assert line == "=" * len(title), file.name
        assert not blank, file.name
        assert text, file.name
        titles.add(title)
        calls = {ast.unparse(node.func) for node in ast.walk(module) if isinstance(node, ast.Call)}
        assert calls & {"plt.show", "figure.savefig"}, file.name
    assert len(titles) == len(gallery) > 0
