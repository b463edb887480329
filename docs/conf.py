"""Configuration of the documentation: `python -m sphinx -W docs docs/_build/html`."""

import os
import re
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from sphinx.pycode import ModuleAnalyzer

import skrelmetric

project = "skrelmetric"
author = "The skrelmetric developers"
copyright = "2026, The skrelmetric developers"  # noqa: A001
version = release = skrelmetric.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.mathjax",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "_templates", "examples"]
templates_path = ["_templates"]
root_doc = "index"

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3

autosummary_generate = True
autodoc_typehints = "none"  # numpydoc's sections say the types
toc_object_entries_show_parents = "hide"  # the page is that of the class
highlight_language = "none"  # formulas of docstrings are no Python; fences and ">>>" say what they are
default_role = "literal"  # as in numpydoc's docstrings
numpydoc_show_class_members = False  # the template of a class lists them

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# Links to other projects need their sites; without a network: SKRELMETRIC_DOCS_OFFLINE=1.
intersphinx_mapping = (
    {}
    if os.environ.get("SKRELMETRIC_DOCS_OFFLINE")
    else {
        "numpy": ("https://numpy.org/doc/stable", None),
        "python": ("https://docs.python.org/3", None),
        "scipy": ("https://docs.scipy.org/doc/scipy", None),
        "sklearn": ("https://scikit-learn.org/stable", None),
        "torch": ("https://docs.pytorch.org/docs/stable", None),
    }
)

sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "gallery",
    "within_subsection_order": "FileNameSortKey",
    "doc_module": ("skrelmetric",),
    "backreferences_dir": "gallery/backreferences",
    "abort_on_example_error": True,
    "remove_config_comments": True,
    "image_srcset": ["2x"],
    "write_computation_times": False,
}

html_theme = "pydata_sphinx_theme"
html_title = "skrelmetric"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {
    "github_url": "https://github.com/skrelmetric/skrelmetric",
    "header_links_before_dropdown": 4,
    "navigation_with_keys": False,
    "show_prev_next": True,
    "secondary_sidebar_items": {"**": ["page-toc"], "results/tables": []},
    "footer_start": ["copyright"],
    "footer_end": ["theme-version"],
}
html_sidebars = {page.stem: [] for page in Path(__file__).parent.glob("*.md")}  # they have no pages beneath them
html_show_sourcelink = False


def _of_others(app, what, name, obj, skip, options):
    """Leave out what classes inherit from scikit-learn and torch: it is documented there."""
    module = getattr(obj, "__module__", None) or ""
    return True if module.startswith(("sklearn.", "torch.")) else None


def _docstring_of_constant(app, what, name, obj, options, lines):
    """Take the docstring of a constant from the file of the package that defines it, not from its type."""
    if what != "data":
        return
    package, _, constant = name.rpartition(".")
    parts = iter_modules(getattr(import_module(package), "__path__", []), f"{package}.")
    for module in [package, *(part.name for part in parts)]:
        found = ModuleAnalyzer.for_module(module).find_attr_docs().get(("", constant))
        if found:
            lines[:] = found


def _initials_of_authors(app, what, name, obj, options, lines):
    """Keep an author's initial at the start of a reference from being read as the letter of a list."""
    lines[:] = [re.sub(r"^( *(?:\.\. \[\d+\] )?[A-Z])\. ", r"\1\\. ", line) for line in lines]


def _without_last_blank(app, name, content):
    """Take the blank line, which doctest needs after output, from the end of code blocks."""
    content[0] = re.sub(r"\n\n```$", "\n```", content[0], flags=re.MULTILINE)


def setup(app):
    """Connect the rules of this file."""
    app.connect("source-read", _without_last_blank)
    app.connect("autodoc-skip-member", _of_others)
    for rule in (_docstring_of_constant, _initials_of_authors):
        app.connect("autodoc-process-docstring", rule, priority=400)  # before numpydoc's
