"""The code on the documentation's pages runs from top to bottom, and prints what the pages say."""

from __future__ import annotations

import contextlib
import io
import re
import runpy
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from skmrm.cli import main
from skmrm.episodes import user_features
from skmrm.meta import fit, folds
from skmrm.meta.pooled import choice
from skmrm.meta.prior import cold_start, directions, em, low_rank, spectral, stacking
from skmrm.splits import support_query

pytestmark = pytest.mark.usefixtures("shared_fits")  # pages begin with the same model

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"[-+]?\d+(\.\d+)?(e[-+]?\d+)?")

# What the blocks of a page import beyond the package's own requirements.
NEEDS = {
    "command_line.md": ["onnx", "onnxruntime"],
    "data_formats.md": ["datasets", "pandas", "polars", "pyarrow"],
    "encoding.md": ["transformers", "ray"],
    "hub.md": ["huggingface_hub", "onnx", "onnxruntime"],
    "is_it_worth_it.md": ["matplotlib", "pandas"],
    "serving.md": ["onnx", "onnxruntime"],
    "trl.md": ["datasets"],
}


@dataclass(frozen=True)
class Block:
    """A block of a page that can be run, and the output that the page shows right below it."""

    source: str
    line: int
    shown: str | None
    exact: bool
    language: str = "python"

    def run(self, page: str, namespace: dict[str, object]) -> None:
        """Run the code, or the commands, one a line."""
        if self.language == "python":
            exec(compile("\n" * self.line + self.source, str(DOCS / page), "exec"), namespace)
        for command in self.source.splitlines() if self.language == "sh" else ():
            program, *arguments = shlex.split(command)
            assert program == "skmrm"
            main(arguments)


def blocks_of(text: str, *languages: str) -> list[Block]:
    """Blocks in order; ``output`` below one is exact, of ``text`` only the wording counts, not the numbers."""
    fences = list(FENCE.finditer(text))
    blocks = []
    for fence, following in zip(fences, [*fences[1:], None], strict=True):
        if fence[1] not in ("python", *languages):
            continue
        shown = following if following and following[1] in ("output", "text") else None
        if shown and text[fence.end() : shown.start()].strip():
            shown = None
        line = text[: fence.start(2)].count("\n")
        exact = bool(shown) and shown[1] == "output"
        blocks.append(Block(fence[2], line, shown and shown[2], exact, fence[1]))
    return blocks


def wording(text: str) -> str:
    """Text without its numbers, and without blanks, which depend on how many digits numbers have."""
    return re.sub(r"\s+", "", NUMBER.sub("#", text))


@pytest.mark.parametrize(
    "page",
    [
        "index.md",
        "get_started.md",
        "is_it_worth_it.md",
        "command_line.md",
        "data_formats.md",
        "design.md",
        "encoding.md",
        "how_it_works.md",
        "hub.md",
        "security.md",
        "serving.md",
        "trl.md",
        "users_life.md",
    ],
)
def test__page__its_python_blocks_run_in_order__as_shown(page, tmp_path, monkeypatch, save_reward_model, request):
    for name in NEEDS.get(page, []):
        pytest.importorskip(name, reason=f"needs {name}: pip install 'skmrm[dev]'")
    blocks = blocks_of((DOCS / page).read_text(encoding="utf-8"), *(["sh"] if page == "command_line.md" else []))
    assert blocks
    monkeypatch.chdir(tmp_path)
    if page == "hub.md":
        request.getfixturevalue("hub")
    if page == "encoding.md":  # a folder by the name of what the page takes from the Hub
        save_reward_model("Skywork/Skywork-Reward-V2-Qwen3-0.6B")
    module = ModuleType("__page__")  # that there is one lets classes of the page be pickled
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for block in blocks:
        printed = io.StringIO()
        errors = printed if block.language == "sh" else sys.stderr
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(errors):
            block.run(page, vars(module))
        where = f"{page}, block at line {block.line}"
        if block.exact:
            assert printed.getvalue().rstrip() == block.shown.rstrip(), where
        else:
            assert wording(printed.getvalue()) == wording(block.shown or ""), where


def test__how_it_works__numbers_and_files_that_it_names__are_those_of_the_code():
    page = re.sub(r"\s+", " ", (DOCS / "how_it_works.md").read_text(encoding="utf-8"))
    package = Path(fit.__file__).parents[1]
    files = set(re.findall(r"`((?:\w+/)+\w+\.py)`", page))
    assert len(files) > 8
    assert [name for name in sorted(files) if not (package / name).is_file()] == []
    tried = stacking.StackOptions()
    some = (tried.flat, tried.wide, tried.narrow, tried.kinds)
    ridges = ", ".join(f"{ridge:g}" for ridge in cold_start.RIDGES[:-1])
    flat, wide, narrow, kinds = (", ".join(f"{one:g}" for one in each) for each in some)
    for words in (
        f"{len(choice.RIDGES)} candidates from {max(choice.RIDGES):g} to {min(choice.RIDGES):g}",
        f"its ridge at {choice.DEFAULT_RIDGE:g}",
        rf"the flat prior with its standard deviations times $c \in \{{{flat}\}}$",
        rf"the wide one with $c \in \{{{wide}\}}$",
        rf"the narrow one with $c \in \{{{narrow}\}}$",
        f"{kinds} kinds of users, and",
        f"no more than {spectral.MOST_RIDGE:g}",
        f"less than {stacking.REQUIRED_GAIN:g} nats",
        rf"${stacking.PULL:g} / n_\text{{users}}$",
        f"guess of its standard deviation: {directions.POOLED_SCALE:g}",
        f"A sweep ({low_rank.SWEEPS} are taken)",
        f"below {low_rank.NEGLIGIBLE:.0%} of the largest variance",
        f"{em.GAUSSIAN_SWEEPS} sweeps are taken",
        f"$M^{{{em.RELAXATION:g}}}$",
        f"{em.SHRINKAGE:g} more users per direction",
        f"({low_rank.KINDS_SWEEPS} sweeps, from k-means",
        f"up to {directions.AUTO_BASES + 1} in all",
        f"the {directions.AUTO_BASES} leading principal directions",
        f"{spectral.SMALLEST:.0%} of the largest if that is less",
        f"fewer than {folds.MIN_JUDGED_USERS} users",
        f"as hold {folds.ENOUGH_VALIDATION_USERS} users. To weigh priors, {folds.ENOUGH_TO_WEIGH} are enough",
        f"{support_query.MAX_PAIRS_PER_USER} pairs of a user",
        f"{user_features.MOST_LEVELS} at most; zero where nothing is known",
        rf"for each $\lambda$ of {ridges} and {cold_start.RIDGES[-1]:g}",
        f"with fewer than {cold_start.MIN_USERS} users there is none",
    ):
        assert words in page


def test__security__tests_that_it_names__are_there():
    lines = (DOCS / "security.md").read_text(encoding="utf-8").splitlines()
    rows = [line.split("|")[2] for line in lines if line.startswith("|") and "test_" in line]
    named = [re.findall(r"`([^`]+\.py)`|`(test__\w+)`", row) for row in rows]
    assert sum(bool(test) for row in named for _, test in row) > 12
    for row in named:
        files = [ROOT / "tests" / file for file, _ in row if file]
        tests = "".join(file.read_text(encoding="utf-8") for file in files)
        assert [test for _, test in row if test and f"def {test}(" not in tests] == []


def test__design__files_that_it_names__are_there():
    page = (DOCS / "design.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:\w+/)+(?:\w+\.(?:py|md))?)`", page))
    assert len(named) > 40
    assert [name for name in sorted(named) if not ((ROOT / name).exists() or (ROOT / "skmrm" / name).exists())] == []


def test__blocks_of__output_below_a_block__belongs_to_it():
    page = "```python\na\n```\n```output\n1\n```\n\n```python\nb\n```\n\nwords\n\n```text\n2\n```\n```sh\nc\n```\n"
    assert blocks_of(page) == [Block("a\n", 1, "1\n", True), Block("b\n", 8, None, False)]
    assert wording("score [0.71 -1.2e-5]\n") == wording("score [ 0.69  3 ]") != wording("scores [0.71 3]")


def test__check_links__links_that_lead_nowhere__are_found_and_no_others(tmp_path, capsys):
    check = runpy.run_path(str(DOCS / "check_links.py"))["main"]
    assert check(tmp_path) == 1  # no page, no proof
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "page.html").write_text('<h1 id="a b">A</h1><a href="../index.html#top">up</a>')
    good = '<a href="deep/page.html#a%20b"></a><a href="https://example.org/x#y"></a><img src="data:image/png;base64,">'
    (tmp_path / "index.html").write_text(good)
    assert check(tmp_path) == 0
    bad = '<a href="deep/page.html#b"></a><a href="gone.html"></a><img src="gone.png"><a href="#here"></a>'
    (tmp_path / "bad.html").write_text(good + bad)
    capsys.readouterr()
    assert runpy.run_path(str(DOCS / "check_links.py"))["main"](tmp_path) == 1
    found = capsys.readouterr().out.splitlines()
    links = ("#here", "deep/page.html#b", "gone.html", "gone.png")
    assert found == [f"bad.html: {link} leads nowhere" for link in links]
