"""Sphinx configuration: ``make docs`` builds the site, offline and without running a notebook."""

import re
import shutil
from pathlib import Path

import typer
from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx

from ntkit import __version__
from ntkit.cli._app import GROUPS
from ntkit.cli._app import app as cli
from ntkit.cli._help import as_shown, by_panel

HERE = Path(__file__).parent

project = "ntkit"
author = "The ntkit developers"
copyright = "The ntkit developers"
version = release = __version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "myst_nb",
    "sphinx_design",
]
root_doc = "index"
exclude_patterns = [  # tables are parts of other pages
    *("_build", "_templates", "reference/models_table.md", "benchmarks/*_tables.md"),
]
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
html_math_renderer = "mathml"  # see render_math
html_show_sourcelink = False
html_copy_source = False
html_sidebars = {"index": [], "changelog": []}  # the others list the pages of their section
html_theme_options = {
    "logo": {"text": "ntkit"},
    "navigation_with_keys": False,
    "header_links_before_dropdown": 6,
    "navigation_depth": 1,  # pages, and not every public name
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


def find_notebooks(app: Sphinx, page: str, source: list[str]) -> None:
    """Links to notebooks hold in a checkout, where they are not below docs/."""
    source[0] = source[0].replace("](../../notebooks/", "](../notebooks/")


def write_cli_reference(app: Sphinx) -> None:
    """Write the help of every command as one page, from the commands themselves."""
    root = typer.main.get_command(cli)
    top = typer.Context(root, info_name="ntkit", help_option_names=["-h", "--help"])
    parts = [
        "# Commands and options",
        "Look up every command of `ntkit` and its options. `ntkit COMMAND --help` prints the same.",
        *_tables(root, top),
    ]
    for group, summaries in GROUPS.items():
        parts.append(f"## {group}")
        for name in summaries:
            command = root.commands[name]
            context = typer.Context(command, info_name=name, parent=top)
            usage = " ".join(["ntkit", name, *command.collect_usage_pieces(context)])
            parts += [f"### ntkit {name}", f"```text\n{usage}\n```"]
            parts += map(_paragraph, command.help.split("\n\n"))
            parts += _tables(command, context)
    page = HERE / "generated" / "cli_reference.md"
    page.parent.mkdir(exist_ok=True)
    page.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _paragraph(text: str) -> str:
    """A paragraph of help as Markdown; an example becomes a block of code."""
    if text.startswith("Example: "):
        return f"```bash\n{text.removeprefix('Example: ')}\n```"
    return _with_code(text)


def _tables(command: object, context: typer.Context) -> list[str]:
    """A table of each panel of options."""
    tables = []
    for panel, params in by_panel(as_shown(command).get_params(context)).items():
        rows = [f"| {panel} | |", "|---|---|"]
        for param in params:
            name, text = (each.replace("|", "\\|") for each in param.get_help_record(context))
            rows.append(f"| `{name}` | {_with_code(text)} |")
        tables.append("\n".join(rows))
    return tables


_TYPED = re.compile(r"(?<![\w-])(?:--?[a-zA-Z][\w-]*|[a-zA-Z][\w*-]*[.:_][\w:./>=|*\\]*\w)")


def _with_code(text: str) -> str:
    """Markdown in which names of options and files, and what is typed, are code."""
    return _TYPED.sub(r"`\g<0>`", text)


def render_math(translator: object, node: nodes.Element) -> None:
    """Formulas as MathML, which browsers show by themselves: no script, no network."""
    block = isinstance(node, nodes.math_block)
    # docutils sets the index of a letter with an accent below it, as if it were a limit.
    text = re.sub(r"(\\(?:hat|bar|tilde) ?\w)(?=[_^])", r"\1{}", node.astext())
    translator.body.append(tex2mathml(text, as_block=block))
    raise nodes.SkipNode


def trim_code(app: Sphinx, tree: nodes.document) -> None:
    """Drop the empty line that ends a doctest in a Markdown page."""
    for block in tree.findall(nodes.literal_block):
        text = block.astext().rstrip()
        block.rawsource = text
        block.children = [nodes.Text(text)]


def setup(app: Sphinx) -> None:
    """Connect the steps above."""
    app.connect("builder-inited", copy_notebooks)
    app.connect("builder-inited", write_cli_reference)
    app.connect("source-read", find_notebooks)
    app.connect("doctree-read", trim_code)
    app.add_html_math_renderer("mathml", (render_math, None), (render_math, None))
