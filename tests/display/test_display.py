"""What is shown of a result: the same parts as HTML and as text, whatever the data hold."""

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skmrm.display import Listed, Note, Table, as_html, as_text, shortened, signed, with_interval
from skmrm.display.layout import _STYLE

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
