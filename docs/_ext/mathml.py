"""Equations as MathML, made in the build: they show without a network and without a script."""

import re

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util import logging

logger = logging.getLogger(__name__)

# What docutils' converter does not know, in words that it does.
SPELLINGS = (
    (re.compile(r"\\([bB])ig(?=[(\[|])"), r"\\\1igl"),
    (re.compile(r"\\([bB])ig(?=[)\]])"), r"\\\1igr"),
    (re.compile(r"\\dots(?![a-z])"), r"\\ldots"),
    (re.compile(r"\\textstyle\s*\\sum"), r"{\\textstyle\\sum}"),
    (re.compile(r"\\(hat|bar)\s*(\w)"), r"{{}\\\1{\2}}"),  # or what is below it goes below the letter
    (re.compile(r"\\([dt]?frac)(\d)(\w)"), r"\\\1{\2}{\3}"),
)


def mathml(tex, *, block):
    """One equation as a `<math>` element."""
    for pattern, spelling in SPELLINGS:
        tex = pattern.sub(spelling, tex)
    return tex2mathml(tex.strip(), as_block=block).replace(">‖</mo>", ' stretchy="false">‖</mo>')  # as TeX has it


def rendered(translator, node, *, block):
    """Put out the equation of `node`; one that cannot be read is a warning of the build, and shown as it was typed."""
    parts = node.astext().split(r"\qquad") if block else [node.astext()]  # which a narrow page sets below each other
    try:
        out = "\n".join(mathml(part, block=block) for part in parts)
    except MathError as error:
        logger.warning("no MathML of %r: %s", node.astext(), error, location=node)
        out = translator.encode(node.astext())
    translator.body.append(f'<div class="math">{out}</div>\n' if block else out)
    raise nodes.SkipNode


def setup(app):
    app.add_html_math_renderer(
        "mathml",
        inline_renderers=(lambda translator, node: rendered(translator, node, block=False), None),
        block_renderers=(lambda translator, node: rendered(translator, node, block=True), None),
    )
    return {"parallel_read_safe": True, "parallel_write_safe": True}
