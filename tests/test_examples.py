"""Examples and the README say what they should, on a machine that has nothing but the package."""

import re
import runpy
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test__quickstart__runs__and_shows_that_five_choices_help(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    found = runpy.run_path(str(ROOT / "examples" / "plot_quickstart.py"), run_name="__main__")
    printed = capsys.readouterr().out
    assert "same rewards to the bit: True" in printed
    assert re.search(r"new user '.*', \d+ unseen choices", printed)
    gains = dict(zip(found["SUPPORT_SIZES"], found["gains"], strict=True))
    assert gains[5].low > 0
    assert gains[None].estimate > gains[3].estimate
    assert (tmp_path / "quickstart_learning_curve.png").stat().st_size > 10_000


def test__is_it_worth_it__runs__and_its_pictures_are_those_of_the_report(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    found = runpy.run_path(str(ROOT / "examples" / "plot_is_it_worth_it.py"), run_name="__main__")
    found["plt"].close(found["figure"])
    printed = capsys.readouterr().out
    report = found["report"]
    assert printed.startswith("Adapting on all of a user's choices")
    assert report.verdict in printed
    assert report.comparisons[-1].gain.low > 0
    (gain_curve,) = (line for line in found["axes"][0, 0].lines if line.get_label() == "adapted")
    assert gain_curve.get_ydata().tolist() == [100 * row.gain.estimate for row in report.comparisons]
    assert len(re.findall(r"^base_reward\d +(?:highest|lowest) [+-]", printed, flags=re.MULTILINE)) == 10
    assert (tmp_path / "is_it_worth_it.png").stat().st_size > 10_000


def test__readme__its_example_runs__in_ten_lines():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL)
    assert sum(bool(line.strip()) for line in block.splitlines()) <= 10
    namespace: dict[str, object] = {}
    exec(block, namespace)
    model, new = namespace["model"], namespace["new"]
    assert 0.6 < model.score(new) < 0.9
