"""Examples and the README say what they should, on a machine that has nothing but the package."""

import re
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from skmrm.metrics import bootstrap_interval

pytestmark = pytest.mark.usefixtures("shared_fits")

ROOT = Path(__file__).parents[2]


@pytest.mark.full
def test__quickstart__runs__and_shows_that_five_choices_help(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    found = runpy.run_path(str(ROOT / "examples" / "plot_quickstart.py"), run_name="__main__")
    printed = capsys.readouterr().out
    assert "same rewards to the bit: True" in printed
    opened, told = printed.index("120 new users are predicted right"), printed.index("Two of them disagree most")
    assert opened < printed.index("choices   predicted right") < told
    assert f"{100 * found['gains'][-1].estimate:+.1f} points" in printed
    first, second = found["test"].users[[found["one"], found["other"]]]
    assert (
        found["users"][first].rank(found["prompt"], found["answers"])[0]
        != found["users"][second].rank(found["prompt"], found["answers"])[0]
    )
    assert f"all ({np.median(found['split'].n_support):.0f})" in printed
    gains = dict(zip(found["SUPPORT_SIZES"], found["gains"], strict=True))
    assert gains[5].low > 0
    assert gains[None].estimate > gains[3].estimate
    assert (tmp_path / "quickstart_learning_curve.png").stat().st_size > 10_000


@pytest.mark.full
@pytest.mark.filterwarnings(
    # transformers 5.24 about what TRL 1.16 calls
    r"ignore:`(is_)?gradient_checkpointing\w*` is deprecated:FutureWarning"
)
def test__train_grpo_personal__runs__and_pleases_its_user_above_others(monkeypatch, tmp_path, capsys):
    pytest.importorskip("trl", reason="needs trl: pip install 'skmrm[trl]'")
    monkeypatch.chdir(tmp_path)
    with torch.random.fork_rng(devices=[]):
        found = runpy.run_path(str(ROOT / "examples" / "train_grpo_personal.py"), run_name="__main__")
    rewards = found["rewards"]
    assert len(re.findall(r"[+-]\d\.\d\d", capsys.readouterr().out)) >= len(rewards) == 40
    assert min(rewards[-8:]) > max(rewards[:8]) + 1
    assert found["gains"][found["user"]] > 1 + found["others"].mean()


def test__encode_reward_model__runs__encodes_once_and_new_users_gain(monkeypatch, tmp_path, capsys):
    pytest.importorskip("transformers", reason="needs transformers: pip install 'skmrm[text]'")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["encode_reward_model.py"])
    with torch.random.fork_rng(devices=[]):
        found = runpy.run_path(str(ROOT / "examples" / "encode_reward_model.py"), run_name="__main__")
    printed = capsys.readouterr().out
    assert printed.startswith("a tiny model with random weights")
    assert "Summary(360 texts, 360 new, " in printed
    assert "a second time: 0 new" in printed
    assert found["store"].encoder_.pooling_ == "last"
    assert bootstrap_interval(found["own"], found["shared"]).low > 0
    assert list(tmp_path.iterdir()) == []


def test__readme__its_example_runs__in_ten_lines():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL)
    assert sum(bool(line.strip()) for line in block.splitlines()) <= 10
    namespace: dict[str, object] = {}
    exec(block, namespace)
    model, new = namespace["model"], namespace["new"]
    assert 0.6 < model.score(new) < 0.9
