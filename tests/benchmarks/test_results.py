"""The results page, its file and the README say the same; a method of yours is one more row."""

import io
import re
import shlex
import sys
from contextlib import redirect_stdout
from dataclasses import replace
from importlib import invalidate_caches
from pathlib import Path

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

import bench_data
import neurontune
import overview
import results_csv
import rows as rows_file
import your_method
from committed import DOCS, rows_under
from ntkit.estimators import DFRClassifier, NeuronTuneClassifier, retrain_head
from ntkit.jobs.debias._comparison import Comparison
from ntkit.jobs.debias._pool import Pool
from ntkit.study import Rows
from overview_data import Problem
from overview_tables import ORIGINAL, REFERENCE, figures, names_of, runs_of, tables
from published import PUBLISHED
from tuned_alike import halved, rows_of

FRONT = ("README.md", "results.md", "methods.md", "published.md")
ALL_PAGES = {name: DOCS / name for name in FRONT[1:]} | {"README.md": DOCS / results_csv.README}
MARKED = re.compile(r"<!-- [^>]*, by benchmarks/\w+\.py -->\n.*?<!-- end -->", re.DOTALL)
CODE = re.compile(r"^```(?!\{).*?^```$", re.DOTALL | re.MULTILINE)


def accuracies_in(text):
    """Numbers from 2 with one decimal; thresholds and rates are smaller."""
    return [number for number in re.findall(r"\d+\.\d(?!\d)", text) if float(number) >= 2]


@pytest.fixture(scope="module")
def fits():
    return rows_file.read()


@pytest.fixture(scope="module")
def rows(fits):
    return results_csv.all_rows(fits)


def cells_of(line):
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def tables_of(text):
    """Tables of a page: lists of rows, the header first."""
    found = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    return [[cells_of(line) for line in each.splitlines()] for each in found]


def text_of(name):
    return ALL_PAGES[name].read_text(encoding="utf-8")


# -- the file and the pages -----------------------------------------------------------------------


def made_of(fits):
    """What the rows file makes: files and tables by name."""
    rows, overview = results_csv.all_rows(fits), results_csv.of_overview_alone(fits)
    made = {
        "results.csv": results_csv.as_csv(rows),
        "results_tables.md": results_csv.full_tables(rows),
        "overview_tables.md": tables(overview),
    }
    for name, parts in results_csv.page_tables(rows, fits).items():
        page = (DOCS / name).read_text(encoding="utf-8")
        made[Path(name).name] = results_csv.with_tables(page, parts)
    return made


def test_the_files_and_the_pages_are_made_of_the_rows(fits):
    for name, text in made_of(fits).items():
        now = ALL_PAGES.get(name, DOCS / name).read_text(encoding="utf-8")
        assert now == text, f"{name}: run benchmarks/results_csv.py"
    assert "{include} results_tables.md" in text_of("results.md")
    with pytest.raises(ValueError, match="lacks the markers"):
        results_csv.with_tables("# Results\n", {"main table": "| |"})


@pytest.mark.parametrize("name", FRONT)
def test_no_accuracy_of_a_page_is_written_by_hand(name):
    """Numbers stand in tables that the rows make, in examples of code, or link to a paper."""
    by_hand = CODE.sub("", MARKED.sub("", text_of(name)))
    for table in tables_of(by_hand):
        cells = [cell for line in table for cell in line if not re.match(r"\[.*arxiv\.org", cell)]
        assert not [cell for cell in cells if accuracies_in(cell)]


def prose_of(name):
    """Text that no row makes, without code, tables and links."""
    text = CODE.sub("", MARKED.sub("", text_of(name)))
    return re.sub(r"^\|.*$|\]\([^)]*\)|`[^`]*`", "", text, flags=re.MULTILINE)


def test_an_accuracy_in_a_sentence_is_a_papers_or_the_table_has_it(fits):
    papers = {row["worst_group"] for row in PUBLISHED if row["data_set"] == "Waterbirds"}
    birds = rows_file.by_set(fits, "0 | ERM, training rows")["Waterbirds, official"]
    known = papers | {f"{rows_file.mean_of(birds):.1f}"}
    for name in FRONT:
        assert set(accuracies_in(prose_of(name))) <= known, name


def test_the_readme_says_how_far_below_dfr_labels_end_on_other_problems():
    text = " ".join(text_of("README.md").split())
    said = re.search(
        r"48 labels end (\d+) points below weighted DFR, (\d+) at worst", text
    ).groups()
    heading = "### Points of worst-group accuracy below DFR with all groups"
    (line,) = (row for row in rows_under("apart", heading) if row[0] == "48 labels")
    assert [*said] == [f"{float(cell):.0f}" for cell in line[1:3]]


SHOWN = [
    ("zero", "Sneaker/boot", "0 | NeuronTune", "results.md"),
    ("zero", "Rotten Tomatoes, LSA", "0 | random mask", "results.md"),
    ("some", "Adult", "48 | debias", "results.md"),
    ("some", "Rotten Tomatoes", "48 | debias", "README.md"),
    ("all", "SpamAssassin", "all | DFR as published †", "results.md"),
    ("zero", "TuxScenes", "0 | jtt", "results.md"),
    ("zero", "SpamAssassin, balanced validation", "0 | auto", "methods.md"),
    ("alone", "Waterbirds, official", "0 | class-balanced, validation rows", "methods.md"),
    ("alone", "Waterbirds, official", "0 | ERM, training rows", "published.md"),
    ("half", "Waterbirds, official", "sgd, mask", "published.md"),
]


@pytest.mark.parametrize(("part", "data", "method", "page"), SHOWN)
def test_another_cell_of_the_rows_is_another_page(fits, part, data, method, page):
    other = [dict(fit) for fit in fits]
    wanted = (part, data, method)
    fit = next(f for f in other if (f["part"], f["data"], f["method"]) == wanted)
    best = fit["hits"].index(max(fit["hits"]))
    fit["hits"] = [0 if group == best else hit for group, hit in enumerate(fit["hits"])]
    assert made_of(other)[page] != text_of(page)


def test_the_file_is_complete_and_plausible(rows):
    assert len({row["data_set"] for row in rows}) > 12
    for row in rows:
        assert row["method"]
        assert row["source"]
        assert 0 <= float(row["worst_group"]) <= 100
        if row["average"]:  # a weighted mean over the groups, and the mean over seeds keeps that
            assert float(row["average"]) >= float(row["worst_group"]) - 0.1
    ours = [row for row in rows if row["kind"] == "run"]
    assert all(row["seeds"] and row["tuned_by"] for row in ours)
    key = ("data_set", "shortcut", "validation_set", "method", "labels", "tuned_by", "source")
    keys = [tuple(row[name] for name in key) for row in rows]
    assert len(keys) == len(set(keys))
    published = [row["source"] for row in rows if row["kind"] == "published"]
    assert published
    assert all("arXiv" in source for source in published)


def test_the_sentence_of_the_readme_has_means_of_the_file(rows):
    text = " ".join(text_of("README.md").split())
    pattern = (
        r"With group labels on (\d+) samples, worst-group accuracy rises from (\d+) to (\d+) %, "
        r"and average accuracy falls from (\d+) to (\d+) % \(mean of \[(\d+) problems from (\w+) "
        r"data sets\].* Our weighted DFR, refitted on groups balanced by all labels, "
        r"reaches (\d+) %; as published, (\d+) %"
    )
    n_labels, *worst, average_before, average_after, n, n_sets, dfr, published = re.search(
        pattern, text
    ).groups()

    def problems(method, labels, tuned_by):
        """Those with a shortcut."""
        wanted = ("rows.csv.gz", "like the training set", method, labels)
        names = ("source", "validation_set", "method", "labels")
        chosen = [r for r in rows if tuple(r[name] for name in names) == wanted]
        chosen = [r for r in chosen if r["shortcut"] != "none" and tuned_by in r["tuned_by"]]
        assert len({r["data_set"] for r in chosen}) == len(chosen) == int(n)
        return chosen

    erm = problems("ERM", "none", "cross-validation")
    repaired = problems("ntkit, `debias`", n_labels, "cross-validation")
    for found, column, told in (
        (erm, "worst_group", worst[0]),
        (repaired, "worst_group", worst[1]),
        (erm, "average", average_before),
        (repaired, "average", average_after),
        (problems("DFR, weighted, all rows", "all", "worst group"), "worst_group", dfr),
        (
            problems("DFR as published, validation set", "of the validation set", "worst group"),
            "worst_group",
            published,
        ),
    ):
        mean = np.mean([float(row[column]) for row in found])
        assert abs(mean - int(told)) < 0.55, (column, told)  # means of rounded values
    # Models of the same data are problems of one data set.
    fashion = dict.fromkeys(("Sneaker/boot", "T-shirt/dress", "Pullover/coat"), "Fashion-MNIST")
    names = {row["data_set"] for row in erm}
    assert (len({fashion.get(m, m.split(",")[0]) for m in names}), n_sets) == (6, "six")


# -- the command ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (None, "no folder .*data missing. Build the data: make bench-data"),
        (("--data", "Adlt"), "no data set 'Adlt'. Choose among: TuxScenes; .*Adult, 95 %"),
        (("--data", "Adult"), "adult_0.npz. Run: make bench-data"),
        (("--data", "Waterbirds, frozen"), "It needs --birds or --tuned"),
        (("--method", "no_such_module:Mine"), "Run this in the folder of your module"),
    ],
)
def test_a_wrong_argument_says_what_to_do(more, message, tmp_path, monkeypatch, capsys):
    if more:
        (tmp_path / "data missing").mkdir()
    arguments = [str(tmp_path / "data missing"), str(tmp_path / "results.jsonl"), *(more or ())]
    monkeypatch.setattr(sys, "argv", ["overview.py", *arguments])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    with pytest.raises(SystemExit):
        overview.main()
    assert re.search(message, capsys.readouterr().err)


# -- your method ----------------------------------------------------------------------------------


def test_the_example_of_the_page_prints_what_the_page_shows():
    page = (DOCS / "results.md").read_text(encoding="utf-8")
    code, shown = re.search(r"```python\n(.*?)```\s*```text\n(.*?)```", page, re.DOTALL).groups()
    said = io.StringIO()
    with redirect_stdout(said):
        exec(code, {})
    lines, expected = (text.strip().splitlines() for text in (said.getvalue(), shown))
    for line, other in zip(lines, expected, strict=True):
        *name, worst, average = line.split()
        *other_name, other_worst, other_average = other.split()
        assert name == other_name
        assert float(worst.strip("%")) == pytest.approx(float(other_worst.strip("%")), abs=4)
        assert float(average.strip("%")) == pytest.approx(float(other_average.strip("%")), abs=3)


class WithValidation(DummyClassifier):
    def fit(self, X, y, X_val=None, y_val=None):
        self.sizes = (len(X), len(X_val))
        return super().fit(X, y)


class WithGroups(DummyClassifier):
    def fit(self, X, y, *, groups):
        self.told = {"groups": groups}
        return super().fit(X, y)


class WithAttribute(DummyClassifier):
    def fit(self, X, y, X_val, y_val, attribute, attribute_val):  # returns None
        self.told = {"attribute": attribute, "attribute_val": attribute_val}
        super().fit(X, y)


class WithGrid(LogisticRegression):
    """A grid of penalties."""


class WithBoth(LogisticRegression):
    def fit(self, X, y, groups):
        weight = 1 / np.bincount(groups)[groups]
        return super().fit(X, y, sample_weight=weight / weight.mean())


class TooMany(LogisticRegression):
    """A grid that is larger than it may be."""


class Misspelt(LogisticRegression):
    """A grid of a parameter that there is not."""


def tree(depth=1):
    return DecisionTreeClassifier(max_depth=depth)


WithGrid.GRID = WithBoth.GRID = {"C": [1e-6, 0.01, 1.0]}
TooMany.GRID = {"C": [*range(1, 26)]}
Misspelt.GRID = {"c": [1.0]}
tree.GRID = {"depth": [1, 2]}


def made_up(n, seed):
    rng = np.random.default_rng(seed)
    y, a = rng.integers(0, 2, n), rng.integers(0, 2, n)
    return Rows.of(np.c_[y + rng.normal(size=n), a], y, 2 * y + a)


@pytest.fixture
def problem():
    train, validation, test = made_up(80, 0), made_up(40, 1), made_up(80, 2)
    return Problem(train, validation, test, {}, None, None, frozen=True)


def test_your_classifier_is_fitted_on_all_rows_and_rated_on_test(problem):
    spec = "sklearn.linear_model:LogisticRegression"
    (fit,) = overview.run(problem, spec, 0)
    assert fit["method"] == "0 | LogisticRegression"
    assert 0 < rows_file.worst(fit) <= rows_file.average(fit) < 100
    clf = your_method.fitted(LogisticRegression, problem.train, problem.validation, {})
    both = np.concatenate([problem.train.X, problem.validation.X])
    y = np.concatenate([problem.train.y, problem.validation.y])
    np.testing.assert_allclose(clf.coef_, LogisticRegression().fit(both, y).coef_, rtol=1e-3)


def test_your_classifier_gets_the_validation_set_if_it_takes_one(problem):
    clf = your_method.fitted(WithValidation, problem.train, problem.validation, {})
    assert clf.sizes == (80, 40)
    assert your_method.row_of("m:WithValidation", WithValidation) == "0 | WithValidation"


def test_your_classifier_gets_the_groups_of_its_rows_if_it_takes_them(problem):
    train, validation = problem.train, problem.validation
    told = your_method.fitted(WithGroups, train, validation, {}).told
    np.testing.assert_array_equal(told["groups"], np.r_[train.groups, validation.groups])
    told = your_method.fitted(WithAttribute, train, validation, {}).told
    np.testing.assert_array_equal(told["attribute"], train.groups % 2)
    np.testing.assert_array_equal(told["attribute_val"], validation.groups % 2)
    for method in (WithGroups, WithAttribute, DFRClassifier):
        name = method.__name__
        assert your_method.row_of(f"m:{name}", method) == f"all | {name} †"


@pytest.mark.parametrize(
    ("method", "name", "rule"),
    [
        (WithGrid, "0 | WithGrid ‡", "class"),
        (WithBoth, "all | WithBoth ‡†", "group"),
        (tree, "0 | tree ‡", "class"),
    ],
)
def test_your_grid_is_tuned_as_every_method_is(problem, method, name, rule):
    (fit,) = overview.run(problem, f"{__name__}:{method.__name__}", 0)
    plain = Comparison(Pool(problem.train, problem.validation), problem.test, head=None, seed=0)
    task, half = halved(plain.train, rows_of(plain.train), plain.validation, 0)
    kept, best = {}, (-1.0, 0.0)
    for given in your_method.configurations(method):
        clf = your_method.fitted(method, task.train, task.validation, given)
        right = clf.predict(half.X) == half.y
        parts = half.groups if rule == "group" else half.y
        accuracy = [right[parts == part].mean() for part in np.unique(parts)]
        if (min(accuracy), np.mean(accuracy)) > best:
            kept, best = given, (min(accuracy), np.mean(accuracy))
    assert fit["method"] == name
    assert fit["given"] == kept
    assert 0 < rows_file.worst(fit) <= rows_file.average(fit) < 100


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (TooMany, "GRID has 25 configurations, 24 are allowed. Remove values."),
        (Misspelt, "unexpected keyword argument 'c'"),
    ],
)
def test_a_wrong_grid_is_refused_before_anything_runs(
    method, message, tmp_path, monkeypatch, capsys
):
    arguments = [str(tmp_path), "results.jsonl", "--method", f"{__name__}:{method.__name__}"]
    monkeypatch.setattr(sys, "argv", ["overview.py", *arguments])
    monkeypatch.setattr(sys, "path", [*sys.path])
    with pytest.raises(SystemExit):
        overview.main()
    assert message in capsys.readouterr().err


def test_your_changed_module_runs_again(problem, tmp_path, monkeypatch, capsys):
    text = "from sklearn.dummy import DummyClassifier\nclass Again(DummyClassifier):\n    {}\n"
    module, spec = tmp_path / "again_for_a_test.py", "again_for_a_test:Again"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(overview, "problems", lambda *_: {"Adult": lambda folder, draw: problem})
    arguments = [".", "results.jsonl", "--draws", "0", "--data", "Adult", "--parts", "all"]
    files = ["--method", spec, "--markdown", "tables.md"]
    monkeypatch.setattr(sys, "argv", ["overview.py", *arguments, *files])
    ran = []
    for body in ("pass", "pass", "def fit(self, X, y, groups): return super().fit(X, y)"):
        module.write_text(text.format(body))
        sys.modules.pop("again_for_a_test", None)
        invalidate_caches()
        overview.main()
        ran.append(f"Adult, draw 0, {spec}" in capsys.readouterr().out)
    assert ran == [True, False, True]
    written = (tmp_path / "tables.md").read_text(encoding="utf-8")
    assert "| all | Again † |" in written
    assert "| 0 | Again |" not in written


def test_a_module_in_the_working_folder_is_found(tmp_path, monkeypatch):
    (tmp_path / "mine_for_a_test.py").write_text("class Mine:\n    pass\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    assert your_method.loaded("mine_for_a_test:Mine").__name__ == "Mine"
    with pytest.raises(ValueError, match="Write MODULE:CLASS"):
        your_method.loaded("mine_for_a_test")


def fit_of(method, hits):
    return {
        **{"part": "zero", "data": "Adult, 95 %", "seed": 0, "method": method, "draw": 0},
        **{"hits": [hits, 60], "counts": [100, 100], "shares": [1, 1]},
    }


def test_your_row_stands_in_the_tables():
    runs = runs_of([fit_of(name, 50) for name in (ORIGINAL, REFERENCE, "0 | Mine")])
    assert "0 | Mine" in names_of(runs)
    assert "| 0 | Mine | 50.0 |" in figures(runs, "worst").replace(" ± 0.0", "")


def test_the_tables_show_what_was_run_and_nothing_else():
    fits = [fit_of(ORIGINAL, 50), fit_of(REFERENCE, 50), fit_of("1 | debias", 1)]
    (alone, both, asked) = (tables(fits[: n + 1]) for n in range(3))
    for text in (alone, both, asked):
        assert text.startswith("Means over the data sets that were run: Adult, 95 %.")
        assert "Goals" not in text
        assert "24 configurations" not in text
        assert "| – |" not in text
    assert "In short" not in alone  # there is no DFR to compare with
    assert "| Adult, 95 %: gap | accuracy cost |" in both
    assert "one yes" not in both
    assert "| one yes | ntkit, `debias` | 1.0 |" in asked.replace(" ± 0.0", "")


def unnamed(problem, recognised):
    sides = np.r_[problem.train.groups, problem.validation.groups] % 2 if recognised else None
    return replace(problem, answer=lambda: ("a", sides))


def test_nothing_is_changed_where_a_person_recognises_nothing(problem):
    original = Comparison(Pool(problem.train, problem.validation), problem.test, head=None, seed=0)
    (as_it_was, *_) = neurontune.hits(original.original, original.test, original.test.groups)
    for fit in overview.run(unnamed(problem, False), "one", 0):
        assert fit["hits"] == as_it_was
    assert overview.run(problem, "one", 0) == []


@pytest.mark.filterwarnings("ignore::ntkit.exceptions.SuppressionWarning")
def test_neurontune_is_the_rule_as_described_next_to_masks_of_its_size(problem):
    rng = np.random.default_rng(0)
    noisy = [
        Rows.of(np.c_[part.X, rng.normal(size=(len(part.y), 6))], part.y, part.groups)
        for part in (problem.train, problem.validation, problem.test)
    ]
    train, held, test = noisy
    fits = overview.run(Problem(*noisy, {}, None, None, frozen=True), "zero", 0)
    (described,) = (fit for fit in fits if fit["method"] == "0 | NeuronTune")
    head = retrain_head(train.X, train.y, class_weight=None, C=1.0)
    clf = NeuronTuneClassifier.as_described(head=head, random_state=0)
    clf.fit(train.X, train.y, X_val=held.X, y_val=held.y)
    assert described["embeddings"] == "raw"
    assert described["n_suppressed"] == clf.suppressed_.sum() > 0
    assert described["hits"] == neurontune.hits(clf, test, test.groups)[0]
    masks = [fit for fit in fits if fit["method"] == "0 | random mask"]
    assert [fit["draw"] for fit in masks] == [0, 1, 2]
    assert {fit["n_suppressed"] for fit in masks} == {described["n_suppressed"]}


def test_the_commands_of_the_page_are_options_of_the_scripts():
    page = (DOCS / "results.md").read_text(encoding="utf-8")
    blocks = [b.replace("\\\n", " ") for b in re.findall(r"```bash\n(.*?)```", page, re.DOTALL)]
    (build,) = (b for b in blocks if "bench_data.py" in b)
    names = build.partition("--only ")[2].partition("#")[0].split()
    assert set(names) < set(bench_data.BUILDERS)
    (run,) = (b for b in blocks if "overview.py" in b)
    words = shlex.split(run, comments=True)
    data = words[words.index("--data") + 1 : words.index("--parts")]
    assert set(data) <= set(overview.problems(None, []))
    (code,) = (b for b in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "GRID" in b)
    module = {}
    exec(code, module)
    assert your_method.row_of("my_module:MyMethod", module["MyMethod"]) == "all | MyMethod ‡†"
    assert "| all | MyMethod ‡† |" in page
