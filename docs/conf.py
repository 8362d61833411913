"""Sphinx configuration: `sphinx-build -W --keep-going -b html docs docs/_build/html` in a checkout."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE / "_ext")]  # a checkout that was never installed builds, too

from sphinx_gallery.sorting import ExplicitOrder  # noqa: E402

import skmrm  # noqa: E402

project = "skmrm"
author = "The skmrm developers"
project_copyright = author
release = skmrm.__version__
version = release

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "numpydoc",
    "myst_parser",
    "sphinx_copybutton",
    "sphinx_design",
    "architecture",
    "sphinx_gallery.gen_gallery",
    "mathml",
    "members",
]
exclude_patterns = ["_build", "**/sg_execution_times.rst", "sg_execution_times.rst"]
templates_path = ["_templates"]

myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

nitpicky = True  # a name that is written as a link is one
default_role = "literal"  # single backquotes in docstrings are names
maximum_signature_line_length = 60
toc_object_entries_show_parents = "hide"

autosummary_generate = True
autosummary_ignore_module_all = False
autodoc_typehints = "none"  # numpydoc's sections give types, with shapes and units
autodoc_member_order = "bysource"
autodoc_default_options = {"inherited-members": "Sequence, Mapping, Protocol, ValueError"}
numpydoc_show_class_members = False  # _ext/members.py lists them

# Names of other packages become links where the build may fetch their inventories, and stay plain names in one that
# may not: a build needs no network, and none fails because a site does not answer.
intersphinx_mapping = {
    "python": ("https://docs.python.org/3", None),
    "numpy": ("https://numpy.org/doc/stable", None),
    "sklearn": ("https://scikit-learn.org/stable", None),
    "torch": ("https://docs.pytorch.org/docs/stable", None),
    "pandas": ("https://pandas.pydata.org/docs", None),
    "matplotlib": ("https://matplotlib.org/stable", None),
}
if os.environ.get("SKMRM_DOCS_ONLINE") != "1":
    intersphinx_mapping = {}

copybutton_exclude = ".linenos, .gp, .go"  # prompts and output of a doctest are not copied
copybutton_selector = (
    ".highlight-python pre, .highlight-pycon pre, .highlight-default pre, .highlight-sh pre, .highlight-bash pre"
)

html_theme = "pydata_sphinx_theme"
html_title = f"skmrm {release}"
html_copy_source = False
html_show_sourcelink = False
html_static_path = ["_static"]
html_css_files = ["skmrm.css"]
html_sidebars = {name: [] for name in ("index", "get_started", "genindex", "py-modindex", "search")}  # no siblings
html_theme_options = {
    "logo": {"text": "skmrm"},
    "header_links_before_dropdown": 6,
    "navbar_align": "left",
    "navbar_end": ["version-switcher", "theme-switcher"],
    "switcher": {"json_url": "_static/switcher.json", "version_match": release},  # shown once there are two versions
    "show_toc_level": 2,
    "show_nav_level": 1,
    "navigation_with_keys": False,
    "footer_start": ["copyright"],
    "footer_end": [],
}

# The gallery, in the order in which a newcomer reads it: scripts named plot_* run in the build, the others are shown.
# A build without running them: `sphinx-build -D plot_gallery=0 ...`.
EXAMPLES = [
    "plot_quickstart.py",
    "plot_own_table.py",
    "plot_how_many_choices.py",
    "plot_is_it_worth_it.py",
    "plot_base_rewards.py",
    "plot_explain.py",
    "plot_suggest_pairs.py",
    "plot_cold_start.py",
    "plot_ties_and_ratings.py",
    "plot_custom_encoder.py",
    "plot_model_selection.py",
    "plot_hard_users.py",
    "plot_uncertainty.py",
    "plot_best_of_n.py",
    "plot_routing.py",
    "plot_dpo_pairs.py",
    "plot_export_and_serve.py",
    "train_grpo_personal.py",
    "encode_reward_model.py",
]
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"/plot_",
    "within_subsection_order": ExplicitOrder(EXAMPLES),  # refuses a script that it does not name
    "backreferences_dir": "generated/backreferences",  # which examples use a name, for its page
    "doc_module": "skmrm",
    "default_thumb_file": str(Path(__file__).parent / "_static" / "shown_only.png"),  # of scripts that are not run
    "abort_on_example_error": True,
    "parallel": 2,  # processes that run examples
    "reset_modules": ("matplotlib",),
    "remove_config_comments": True,
    "min_reported_time": 1,  # seconds
    "show_memory": False,
    "show_signature": False,
}
# Code and figures need the width of the list of sections.
html_theme_options["secondary_sidebar_items"] = {
    "**": ["page-toc"],
    **{f"auto_examples/{name.removesuffix('.py')}": [] for name in ["index", *EXAMPLES]},
}


def skip_scikit_learns_own(app, what, name, obj, skip, options):
    """Leave out what scikit-learn documents: get_params, set_output, metadata routing and the like."""
    return True if str(getattr(obj, "__module__", "")).startswith("sklearn.") else None


def setup(app):
    app.connect("autodoc-skip-member", skip_scikit_learns_own)
