"""Sphinx configuration: `sphinx-build -W --keep-going -b html docs docs/_build/html` in a checkout."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a checkout that was never installed builds, too
sys.path.insert(0, str(Path(__file__).resolve().parent / "_ext"))

import skmrm

project = "skmrm"
author = "The skmrm developers"
project_copyright = author
release = skmrm.__version__
version = release

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
    "myst_parser",
    "architecture",
]
exclude_patterns = ["_build"]
templates_path = ["_templates"]

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

default_role = "literal"  # single backquotes in docstrings are names
maximum_signature_line_length = 100
toc_object_entries_show_parents = "hide"

autosummary_generate = True
autosummary_ignore_module_all = False
autodoc_typehints = "none"  # numpydoc's sections give types, with shapes and units
autodoc_member_order = "bysource"
autodoc_default_options = {"inherited-members": "Sequence, Mapping, Protocol, ValueError"}
numpydoc_show_class_members = False  # the class template lists them

html_theme = "pydata_sphinx_theme"
html_title = f"skmrm {release}"
html_copy_source = False
html_show_sourcelink = False
html_static_path = ["_static"]
html_css_files = ["skmrm.css"]
html_sidebars = {
    name: []
    for name in (
        "index",
        "get_started",
        "is_it_worth_it",
        "how_it_works",
        "accuracy",
        "data_formats",
        "encoding",
        "serving",
        "users_life",
        "trl",
        "comparison",
        "security",
        "contributing",
        "changelog",
        "design",
    )
}
html_theme_options = {
    "logo": {"text": "skmrm"},
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "footer_start": ["copyright"],
    "footer_end": [],
}


def skip_scikit_learns_own(app, what, name, obj, skip, options):
    """Leave out what scikit-learn documents: get_params, set_output, metadata routing and the like."""
    return True if str(getattr(obj, "__module__", "")).startswith("sklearn.") else None


def setup(app):
    app.connect("autodoc-skip-member", skip_scikit_learns_own)
