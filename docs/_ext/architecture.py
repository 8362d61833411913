"""The rooms of the package on their floors, drawn and listed from its imports when the pages are built."""

import ast
import re
from functools import cache
from html import escape
from pathlib import Path

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

import skmrm

PACKAGE = Path(skmrm.__file__).parent
WIDE, A_LINE = 400, 3  # a phone's width, and rooms beside each other
LEFT, WIDTH, HEIGHT, GAP = 26, 118, 28, 8
STYLE = """
.architecture { display: block; width: 100%; max-width: 34rem; margin: 1rem 0; }
.architecture text { fill: var(--pst-color-text-base, currentColor); }
.architecture text { font: 12px var(--pst-font-family-monospace, monospace); }
.architecture .floor { fill: var(--pst-color-text-muted, currentColor); }
.architecture rect { fill: var(--pst-color-surface, none); stroke: var(--pst-color-border, currentColor); }
.architecture .core rect { stroke: var(--pst-color-primary, currentColor); stroke-width: 2; }
.architecture line { stroke: var(--pst-color-border, currentColor); stroke-dasharray: 2 3; }
"""


def rooms():
    """Each room (a folder or a file of the package): the rooms that it imports, and what it says that it is."""
    files = {room_of(file): [] for file in PACKAGE.rglob("*.py")}
    for file in PACKAGE.rglob("*.py"):
        files[room_of(file)].append(ast.parse(file.read_text(encoding="utf-8")))
    files.pop("__init__")
    imported = {room: {name for tree in trees for name in imports_of(tree)} - {room} for room, trees in files.items()}
    return {room: (imported[room] & set(files), told(room)) for room in files}


def room_of(file):
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(tree):
    """Rooms that a file imports from."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("skmrm."):
            yield node.module.split(".")[1]
        elif isinstance(node, ast.ImportFrom) and node.module == "skmrm":
            yield from (alias.name for alias in node.names)


def told(room):
    """First sentence of the room's docstring."""
    file = PACKAGE / f"{room}.py"
    source = file if file.is_file() else PACKAGE / room / "__init__.py"
    return ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))).partition("\n")[0]


def with_names(sentence):
    """Words of a sentence, with what stands in backquotes as names."""
    for place, part in enumerate(re.split(r"(?::\w+:)?`([^`]+)`", sentence.replace("``", "`"))):
        yield nodes.literal(text=part) if place % 2 else nodes.Text(part)


def floors(found):
    """Rooms by floor, from the lowest: each lies right above the highest room that it imports."""

    @cache
    def floor(room):
        return 1 + max((floor(below) for below in found[room][0]), default=0)

    height = max(map(floor, found))
    return [sorted(room for room in found if floor(room) == number) for number in range(1, height + 1)]


def drawing(found):
    """The floors as an SVG in the colours of the page."""
    parts, y = [], 0
    for number, names in reversed(list(enumerate(floors(found), 1))):
        parts.append(f'<text class="floor" x="2" y="{y + 19}">{number}</text>')
        for place, room in enumerate(names):
            x = LEFT + place % A_LINE * (WIDTH + GAP)
            top = y + place // A_LINE * (HEIGHT + GAP)
            kind, title = ' class="core"' if room == "meta" else "", escape(re.sub(r":\w+:|`", "", found[room][1]))
            parts.append(
                f"<g{kind}><title>{title}</title>"
                f'<rect x="{x}" y="{top}" width="{WIDTH}" height="{HEIGHT}" rx="4"/>'
                f'<text x="{x + WIDTH / 2}" y="{top + 18}" text-anchor="middle">{escape(room)}</text></g>'
            )
        y += -(-len(names) // A_LINE) * (HEIGHT + GAP)
        if number > 1:
            parts.append(f'<line x1="0" x2="{WIDE}" y1="{y + 1}" y2="{y + 1}"/>')
        y += GAP + 2
    label = f"The {len(found)} rooms of the package on {len(floors(found))} floors; each imports lower ones only"
    body = "".join(parts)
    return (
        f"<style>{STYLE}</style>"
        f'<svg class="architecture" viewBox="0 0 {WIDE} {y}" role="img" aria-label="{label}">{body}</svg>'
    )


class Architecture(SphinxDirective):
    """``{architecture}``: the drawing, and a table of what the rooms are."""

    def run(self):
        found = rooms()
        for file in PACKAGE.rglob("*.py"):
            self.env.note_dependency(str(file))
        body = nodes.tbody()
        for names in reversed(floors(found)):
            for room in names:
                cells = [nodes.literal(text=room)], list(with_names(found[room][1]))
                body += nodes.row("", *(nodes.entry("", nodes.paragraph("", "", *cell)) for cell in cells))
        head = nodes.row("", *(nodes.entry("", nodes.paragraph(text=word)) for word in ("room", "what it is")))
        columns = [nodes.colspec(colwidth=width) for width in (25, 75)]
        table = nodes.table("", nodes.tgroup("", *columns, nodes.thead("", head), body, cols=2))
        return [nodes.raw("", drawing(found), format="html"), table]


def setup(app):
    app.add_directive("architecture", Architecture)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
