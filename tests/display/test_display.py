"""What is shown of a result: the same parts as HTML and as text, safe whatever the data hold, and at no cost."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest
import sklearn
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.utils import estimator_html_repr

from skmrm import UserModels, personalization_report
from skmrm.base_rewards import BaseRewards
from skmrm.baselines import LowRankRewards, PerUserBradleyTerry, PooledBradleyTerry
from skmrm.display import Listed, Note, Table, as_html, as_text, shortened, signed, with_interval
from skmrm.display.layout import _STYLE
from skmrm.episodes import Episode, EpisodeSet, as_episode_set
from skmrm.estimators.inner_loop import InnerLoop
from skmrm.model_selection import adaptation_curve, compare

EVIL = "</td></style><script>alert('1')</script><img src=x onerror=\"alert(2)\">&lt;b>\x00\ud800\u202e"
TAGS = {
    *("div", "style", "p", "strong", "small", "details", "summary", "ul", "li"),
    *("table", "thead", "tbody", "tr", "th", "td"),
}
ATTRIBUTES = {"class", "scope", "tabindex"}


class Page(HTMLParser):
    """Reads a page; closes every tag that it opens, or fails."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.texts, self.open = set(), set(), [], []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] == ["style"]:
            assert data == _STYLE
        else:
            self.texts.append(data)


def assert_safe(page):
    """No tag, and no attribute, but ours; and it can be written."""
    found = Page(page)
    assert found.tags <= TAGS
    assert found.attributes <= ATTRIBUTES
    page.encode("utf-8")
    return "".join(found.texts)


TEXTS = st.text(st.characters(blacklist_characters="\r")) | st.just(EVIL)


@given(TEXTS, st.lists(st.tuples(TEXTS, TEXTS)), st.booleans(), st.booleans(), st.booleans())
def test__as_html__any_text__is_text_and_nothing_else(text, rows, numbers, named, folded):
    table = Table(rows, (text, ""), text, numbers, named, folded)
    page = as_html(text, text, [text, Note(text), table, Listed(text, [text, text])])
    said = assert_safe(page)
    shown = text.encode("utf-8", "replace").decode()
    assert said.count(shown) >= (9 if shown else 0)  # name, headline, part, note, title, column, and three of the list


def test__as_html__parts_left_out__leave_nothing():
    assert as_html("", "", []) == f'<div class="skmrm-display"><style>{_STYLE}</style></div>'
    assert "<thead>" not in as_html("", "", [Table([("a", "b")])])


def test__as_html__named_rows_and_numbers__are_marked():
    page = as_html("", "", [Table([("a", "1")], ("", "n"), named=True, numbers=True)])
    assert '<th scope="row">a</th><td>1</td>' in page
    assert '<th scope="col">n</th>' in page
    assert 'class="skmrm-numbers"' in page


def test__as_text__parts__stand_apart_and_columns_are_aligned():
    parts = [Table([("a", "1"), ("bb", "22")], ("", "n"), "A title:"), Note("small\ntype"), Listed("All:", ["x", "y"])]
    assert as_text("Top", parts) == "Top\n\nA title:\n    n\na   1\nbb  22\n\nsmall\ntype\n\nAll:\n- x\n- y"
    assert as_text("Top", [Table([("1", "10"), ("22", "3")], numbers=True)]) == "Top\n\n 1  10\n22   3"


@given(st.text(max_size=300), st.integers(3, 40))
def test__shortened__any_text__is_one_line_of_its_words(text, letters):
    line = shortened(text, letters)
    assert len(line) <= letters
    assert line.splitlines() in ([line], [])
    whole = " ".join(text.split())
    assert line == whole or (line.endswith("…") and whole.startswith(line.removesuffix("…").strip()))


@pytest.mark.parametrize(
    ("text", "expected"),
    [("one two three", "one two three"), ("one two three four", "one two …"), ("x" * 30, "xxxxxxxxxxx …"), (7, "7")],
)
def test__shortened__known_texts__end_between_words(text, expected):
    assert shortened(text, 13) == expected


def test__shortened__a_long_text__is_not_read_to_its_end():
    class Long(str):
        """A text that cannot be split as a whole."""

        def split(self, *args):
            raise AssertionError

        def __str__(self):
            return self

    assert shortened(Long("word " * 10**6)).endswith("word …")


@pytest.mark.parametrize(("value", "expected"), [(0.126, "+0.13"), (-0.001, "+0.00"), (-1.5, "-1.50")])
def test__signed__rounded__has_no_negative_zero(value, expected):
    assert signed(value) == expected


def test__with_interval__unknown__is_left_out():
    assert with_interval(0.5, -0.001, 1.25) == "+0.50 [0.00, 1.25]"
    assert with_interval(0.5, float("nan"), float("nan"), 1) == "+0.5"


# -- what shows itself -----------------------------------------------------------------------------------------------


def of_texts(users, **said):
    """A set in which everybody made the same choice of two texts, the first word of each of which is theirs."""
    return as_episode_set([Episode(user, [f"{user} a"], [f"{user} b"], [f"{user}?"], **said) for user in users])


@pytest.fixture(scope="module")
def adapted(model, episodes):
    return model.adapt_many(episodes[:8])


@pytest.fixture(scope="module")
def curves(model, episodes):
    return [adaptation_curve(one, episodes, support_sizes=(0, 3, 50, None)) for one in (model, model.pooled_model_)]


@pytest.fixture(scope="module")
def evil(small, episodes):
    """Everything that shows itself, of users, texts and columns with script in their names."""
    pandas = pytest.importorskip("pandas")
    columns = [EVIL.replace("\ud800", str(k)) for k in range(4)]  # which pyarrow has no text for
    frame = pandas.DataFrame(np.asarray(episodes.features), columns=columns)
    columns = {name: getattr(episodes, name) for name in ("user", "chosen", "rejected", "group")}
    named = EpisodeSet(users=[f"{EVIL}{user}" for user in episodes.users], features=frame, **columns)
    fitted, own = clone(small).fit(named), PerUserBradleyTerry(random_state=0).fit(named)
    users, texts = own.adapt_many(named), of_texts([f"{EVIL}{k}" for k in range(4)])
    report = personalization_report(own, named, support_sizes=(0, 3), n_splits=1)
    made = [named, named[0], texts, texts[0], users, own.adapt(named[0]), fitted.adapt(named[0]), report]
    made += [report.curve, report.comparisons[0], own.adapt(named[0]).explain(), Episode(EVIL, [EVIL], [EVIL], [EVIL])]
    return {f"{number} {type(one).__name__}": one for number, one in enumerate(made)}


def test__html__script_in_ids_texts_and_columns__is_text(evil):
    shown = {name: assert_safe(one._repr_html_()) for name, one in evil.items()}
    told = {name for name, text in shown.items() if "<script>" in text}
    assert {name.split()[1] for name in told} >= {
        "EpisodeSet",
        "Episode",
        "UserModels",
        "EpisodeView",
        "UserRewardModel",
    }


def test__html__script_in_a_fitted_estimator__is_none_of_ours(evil, small, episodes):
    fitted = clone(small).fit(evil["0 EpisodeSet"])
    number = re.compile(r"sk-container-id-\d+")  # each diagram has its own
    shown, theirs = (number.sub("", html) for html in (fitted._repr_html_(), estimator_html_repr(fitted)))
    assert shown.startswith(theirs[:200])
    ours = fitted._repr_html_().partition('<div class="skmrm-display">')
    assert_safe("".join(ours[1:]))


@pytest.mark.parametrize("kind", [None, PooledBradleyTerry, PerUserBradleyTerry, LowRankRewards])
def test__fitted_estimator__html__says_what_it_was_fitted_on_and_what_was_chosen(kind, model, few_episodes):
    fitted = model if kind is None else kind(random_state=0).fit(few_episodes)
    ours = fitted._repr_html_().partition('<div class="skmrm-display">')[2]
    assert f'<th scope="row">users</th><td>{fitted.n_users_}</td>' in ours
    assert f'<th scope="row">pairs</th><td>{fitted.n_pairs_}</td>' in ours
    assert f'<th scope="row">base reward functions</th><td>{fitted.base_rewards_.n_bases}</td>' in ours
    chosen = next(one for one in fitted.selection_ if one["chosen"])
    assert f'<th scope="row">chosen</th><td>{chosen["setting"]}' in ours
    assert f"All {len(fitted.selection_)} candidates" in ours
    assert ours.count("<td>chosen</td>") == 1
    if kind is None:
        assert f"{-chosen['change']:.3f} ± {chosen['standard_error']:.3f} nats a pair" in ours


def test__fitted_estimator__nothing_gained__says_so(small, episodes):
    nobody_differs = clone(small).set_params(n_bases=1, max_epochs=0).fit(episodes)
    assert "nothing: no way to personalise helped" in nobody_differs._repr_html_()


def test__fitted_estimator__of_an_outer_loop__says_what_it_brought(gradient_model):
    losses = [one["validation_loss"] for one in gradient_model.history_]
    ours = gradient_model._repr_html_().partition('<div class="skmrm-display">')[2]
    assert f"{len(losses) - 1} epochs" in ours
    assert f"{losses[0]:.3f} before and {min(losses):.3f} at best" in ours
    assert "chosen" not in ours


def test__fitted_estimator__display_of_scikit_learn__is_followed(model, small):
    bundle = model._repr_mimebundle_()
    assert bundle["text/plain"] == repr(model)
    assert "skmrm-display" in bundle["text/html"]
    assert "skmrm-display" not in clone(small)._repr_html_()
    with sklearn.config_context(display="text"):
        assert set(model._repr_mimebundle_()) == {"text/plain"}
        assert not hasattr(model, "_repr_html_")


def test__fitted_estimator__saved_by_a_version_that_did_not_count_pairs__leaves_them_out(model):
    earlier = clone(model)
    vars(earlier).update({name: value for name, value in vars(model).items() if name != "n_pairs_"})
    for one in (earlier, earlier.pooled_model_):
        assert '<th scope="row">pairs</th>' not in one._repr_html_()


def test__html__of_what_is_fitted_and_adapted__encodes_and_adapts_nothing(
    model, adapted, episodes, curves, tmp_path, monkeypatch
):
    adapted.save(tmp_path / "users.db")
    stored = UserModels.load(tmp_path / "users.db", model)
    shown = [model, adapted, stored, adapted[episodes.users[0]], episodes, episodes[0], *curves, *compare(*curves)]

    def refused(*args, **options):
        raise AssertionError("work was done to show a result")

    for owner, name in ((BaseRewards, "of_items"), (BaseRewards, "_of_features"), (InnerLoop, "adapt")):
        monkeypatch.setattr(owner, name, refused)
    monkeypatch.setattr(type(stored._table), "blocks", refused)
    for one in shown:
        assert one._repr_html_()
        assert len(repr(one)) < 500


def test__html__features_on_disk__are_not_read(episodes):
    class OnDisk:
        shape, dtype, ndim = (episodes.n_items, 4), np.dtype(float), 2

        def __getitem__(self, key):
            raise AssertionError("features were read")

    lazy = episodes.with_features(OnDisk())
    assert "<td>40</td>" in lazy._repr_html_()
    assert '<th scope="row">features</th><td>4</td>' in lazy[0]._repr_html_()


def test__episode__html__shows_a_few_choices_and_what_was_said():
    episodes = of_texts(["ann", "bo", "cy", "di"], outcomes=[0], weights=[2.0])
    for shown in (episodes[1], Episode("bo", ["bo a"], ["bo b"], ["bo?"], outcomes=[0], weights=[2.0])):
        page = shown._repr_html_()
        assert "<tr><td>bo?</td><td>" in page
        assert "<td>tie</td>" in page
        assert '<th scope="row">also known</th><td>outcomes, weights</td>' in page
    page = episodes._repr_html_()
    assert "<tr><td>cy</td><td>cy?</td>" in page
    assert "di?" not in page  # three are enough
    assert "4 of them ties" in page


def test__episode__html__long_texts_and_messages_are_shortened():
    asked = {"role": "user", "content": "Why?"}
    sides = [[asked, {"role": "assistant", "content": f"{side} " * 10**5}] for side in ("yes", "no")]
    page = Episode("ann", [sides[0]], [sides[1]])._repr_html_()
    assert len(page) < 4000
    assert "<td>Why?</td><td>yes yes" in page
    assert "<td>no no" in page


def test__episode__html__rated_response__stands_alone():
    page = Episode("ann", ["a"], ["a"], ratings=[3])._repr_html_()
    assert "<tr><td>a</td><td>rated 3</td></tr>" in page


@pytest.mark.parametrize("wrong", [Episode("ann", 3, 4), Episode("ann", ["a"], []), Episode("ann", ["a"], ["b"], [])])
def test__episode__html__of_what_is_wrong__leaves_it_to_repr(wrong):
    assert wrong._repr_html_() is None
    assert repr(wrong).startswith("Episode(user='ann'")


def test__user_model__html__shows_the_weights_that_differ_most(model, adapted, episodes):
    user = adapted[episodes.users[0]]
    page = user._repr_html_()
    off = np.abs(user.weights_ - model.base_rewards_.params["crowd.weights"])
    row = page.partition("<tbody>")[2].partition("<tbody>")[2]
    assert row.startswith(
        f'<tr><th scope="row">base_reward{off.argmax()}</th><td>{user.weights_[off.argmax()]:+.2f}</td>'
    )
    assert "kept for update" in page
    assert "cannot be updated" in user.compact()._repr_html_()


def test__user_models__html__shows_counts_and_the_first_few(adapted):
    page = adapted._repr_html_()
    assert '<th scope="row">users</th><td>8</td>' in page
    assert "The first 5:" in page
    assert page.count("<tr>") == 4 + 1 + 5
    assert "none" in adapted.drop([*adapted])._repr_html_()


def test__curve_and_comparison__html__have_no_row_for_nobody(curves):
    page = curves[0]._repr_html_()
    assert page.count("<tr>") == 1 + 3
    assert f"<td>{curves[0].to_frame().accuracy[3]:.3f}</td>" in page
    row = compare(*curves)[1]
    assert repr(row).startswith(
        f"Comparison(3 choices, {row.n_users} users: gain in points {100 * row.gain.estimate:+.1f} ["
    )
    assert f"<td>{100 * row.helped:.0f} %</td>" in row._repr_html_()
