"""Sphinx configuration: ``make docs`` builds the site, offline and without running a notebook."""

import shutil
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx

from ntkit import __version__

HERE = Path(__file__).parent

project = "ntkit"
author = "The ntkit developers"
copyright = "The ntkit developers"
version = release = __version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
    "myst_nb",
]
root_doc = "index"
exclude_patterns = ["_build", "_templates", "models_table.md"]  # the last is part of models.md
templates_path = ["_templates"]
default_role = "code"

# The API pages: one page per name, its methods on the same page.
autosummary_generate = True
autodoc_typehints = "none"  # the docstrings say the types, and the shapes as well
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
add_module_names = False

# The tests run the notebooks; the site shows the outputs they are committed with.
nb_execution_mode = "off"
nb_render_markdown_format = "myst"  # tables
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

html_theme = "pydata_sphinx_theme"
html_title = "ntkit"
html_static_path = ["_static"]
html_css_files = ["ntkit.css"]
html_show_sourcelink = False
html_copy_source = False
html_sidebars = {
    "index": [],
    "main_job": [],
    "methods": [],
    "command_line": [],
    "changelog": [],
    "notebooks/*": [],
}
html_theme_options = {
    "logo": {"text": "ntkit"},
    "navigation_with_keys": False,
    "show_nav_level": 2,
    "secondary_sidebar_items": {"**": ["page-toc"], "index": []},
    "footer_start": ["copyright"],
    "footer_end": [],
}


def copy_notebooks(app: Sphinx) -> None:
    """Bring the notebooks from the top level into the source folder."""
    target = HERE / "notebooks"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    for notebook in sorted((HERE.parent / "notebooks").glob("*.ipynb")):
        shutil.copy(notebook, target)


def trim_code(app: Sphinx, tree: nodes.document) -> None:
    """Drop the empty line that ends a doctest in a Markdown page."""
    for block in tree.findall(nodes.literal_block):
        text = block.astext().rstrip()
        block.rawsource = text
        block.children = [nodes.Text(text)]


def setup(app: Sphinx) -> None:
    """Connect the two steps above."""
    app.connect("builder-inited", copy_notebooks)
    app.connect("doctree-read", trim_code)
