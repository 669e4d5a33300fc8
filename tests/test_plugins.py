"""Code of the user's own: what a file declares, what is wrong with one, and which jobs an edit makes stale."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import REPOSITORY
from test_project import mistake, write

from contrastbench import own, registry
from contrastbench.datasets import adapter
from contrastbench.errors import UserError
from contrastbench.methods import Method, method_class
from contrastbench.params import plugins, root
from contrastbench.params.base import params_hash
from contrastbench.params.own_attacks import own_attacks
from contrastbench.params.root import from_content, load
from contrastbench.pipeline import fingerprint, sources
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job

TEMPLATE = REPOSITORY / "template"
OWN, OTHER = Job("unremix", "digits", "mine", 0), Job("unremix", "digits", "simclr", 0)
METHOD = 'METHOD = {"name": "mine", "class": "Mine", "modalities": ["image"]}\nclass Mine: pass\n'
ATTACK = (
    'ATTACK = {"name": "none", "norm": "l2"}\ndef attack(model, images, labels, *, eps, generator): return images\n'
)


@pytest.fixture(autouse=True)
def _names() -> Iterator[None]:
    """Afterwards no name of these tests is known, and modules are looked for where they were."""
    tables = [registry.METHODS, registry.ATTACKS, registry.DATASETS, *registry.DATASETS_OF.values()]
    tables += [plugins._registered]
    kept, folder = [dict(table) for table in tables], list(own.__path__)
    yield
    for table, before in zip(tables, kept, strict=True):
        table.clear()
        table.update(before)
    own.use_folder(Path(folder[0]))
    root._learn_new_names()
    forget()


def forget() -> None:
    """As in a new process."""
    for each in (fingerprint.fingerprint, fingerprint.closure, fingerprint.data_files, fingerprint._file):
        each.cache_clear()
    sources.read_source.cache_clear()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of a method alone."""
    write(tmp_path, "params.yaml", "extends: contrastbench\nplugins: [methods]\nunremix: {methods: [mine]}\n")
    write(tmp_path, "methods/mine.py", METHOD)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What `contrastbench new` makes."""
    for path in TEMPLATE.rglob("*.*"):
        if path.is_file():
            write(tmp_path, str(path.relative_to(TEMPLATE)), path.read_text(encoding="utf-8"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_method_a_data_set_and_an_attack_are_known_by_the_names_that_they_declare(template: Path) -> None:
    section = load("first").track("swaro")
    settings = section.settings_of("align-uniform")
    assert dict(settings) == {"weight": 0.5, "scale": 2.0}, "one as the preset says, one as the file declares"
    assert params_hash(settings) != params_hash(load().track("swaro").settings_of("align-uniform"))
    assert method_class("align-uniform").__module__ == "contrastbench.own.methods.align_uniform"
    assert issubclass(method_class("align-uniform"), Method)
    assert adapter("stripes").classes == ("horizontal", "vertical", "falling", "rising")
    (attack,) = own_attacks(section.own_attacks).values()
    assert attack.settings() == {"tries": 4} and attack.images == 40
    budget = section.robustness.budget("stripes")  # type: ignore[union-attr]
    assert attack.radii("random-corners", budget) == (0.05, 0.1)


def test_a_run_takes_its_plugins_with_its_parameters(template: Path) -> None:
    params = load("first")
    content = params.model_dump(mode="json")
    assert content["plugins"] == ["methods", "datasets", "attacks"]
    assert from_content(content, "run") == params


def test_the_parameters_of_everybody_else_do_not_change(template: Path) -> None:
    before = params_hash(load(root=REPOSITORY))
    load("first")
    assert params_hash(load(root=REPOSITORY)) == before


def test_settings_have_the_types_and_ranges_that_they_declare(project: Path) -> None:
    settings = {
        "steps": {"default": 3, "ge": 1, "lt": 9},
        "loss": {"default": "sum", "choices": ["sum", "mean"]},
        "sharp": [1.0, 2],
        "always": True,
        "plain": 0.5,
    }
    write(project, "methods/mine.py", METHOD.replace("}", f', "settings": {settings}}}', 1))

    def given(text: str) -> str:
        start = "extends: contrastbench\nplugins: [methods]\n"
        write(project, "params.yaml", f"{start}unremix: {{settings: {{mine: {{{text}}}}}}}\n")
        told = mistake()
        assert told.startswith("params.yaml: unremix.settings."), told
        return told.removeprefix("params.yaml: unremix.settings.")

    assert given("steps: 9") == "mine.steps = 9: input should be less than 9"
    assert given("steps: 2.5").startswith("mine.steps = 2.5: input should be a valid integer")
    assert given("loss: max") == "mine.loss = \"max\": input should be 'sum' or 'mean'"
    assert given("sharp: [a]").startswith('mine.sharp.0 = "a": input should be a valid number')
    assert given("always: 1").startswith("mine.always = 1: input should be a valid boolean")
    assert given("stps: 1") == "mine.stps: unknown key; did you mean 'steps'?"
    write(project, "params.yaml", "extends: contrastbench\nplugins: [methods]\n")
    expected = {"steps": 3, "loss": "sum", "sharp": (1.0, 2), "always": True, "plain": 0.5}
    assert dict(load().track("unremix").settings_of("mine")) == expected


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("def f(:\n", "methods/bad.py:1: cannot be read as Python: invalid syntax"),
        ("a\0b", "methods/bad.py: cannot be read as Python: source code string cannot contain null bytes"),
        (f"import torch\nimport nowhere\n{METHOD}", "methods/bad.py:2: cannot be imported: no module 'nowhere', and"),
        (f"from mine import x\n{METHOD}", "methods/bad.py:1: cannot be imported: no module 'mine'; write `from .mine"),
        (METHOD, "methods/mine.py: the method 'mine' is declared in methods/bad.py too; rename one of them"),
        (METHOD.replace("mine", "simclr"), "methods/bad.py: a method 'simclr' is there already; choose another name"),
        (METHOD.replace("mine", "pixels"), "methods/bad.py: a method 'pixels' is there already; choose another name"),
        (METHOD.replace("mine", "My_Own"), 'methods/bad.py:1: METHOD: name = "My_Own": must be made of a to z, 0 to 9'),
        (METHOD.replace("mine", "all"), "methods/bad.py:1: METHOD: name = \"all\": 'all' and '-to-' have a meaning"),
        (METHOD.replace("image", "imgae"), 'methods/bad.py:1: METHOD: modalities.0 = "imgae": unknown modality; did y'),
        (METHOD.replace('"Mine"', '"Mien"'), "methods/bad.py:1: METHOD: no class 'Mien' in this file; did you mean"),
        (METHOD.replace('"class"', '"klass"'), "methods/bad.py:1: METHOD: klass: unknown key; did you mean 'class'?"),
        ("METHOD = dict(name=1)\n", "methods/bad.py:1: METHOD: must be a dict of plain values, written out: it is re"),
        ('METHOD = {"name": {1}}\n', "methods/bad.py:1: METHOD: must be a dict of plain values, written out"),
        (ATTACK.replace("l2", "l3"), "methods/bad.py:1: ATTACK: norm = \"l3\": input should be 'linf', 'l2' or 'l1'"),
        (ATTACK.replace("def attack", "def run"), "methods/bad.py:1: ATTACK: no function `attack` in this file"),
        (ATTACK.replace("eps, ", ""), "methods/bad.py:1: ATTACK: the function `attack` takes no argument 'eps', which"),
        (
            ATTACK.replace("eps, ", "eps, n, "),
            "methods/bad.py:1: ATTACK: the function `attack` needs 'n', which",
        ),
        (ATTACK.replace("ATTACK =", "ATTACK: dict =").replace("l2", "l3"), 'methods/bad.py:1: ATTACK: norm = "l3"'),
        (f"from ._gone import x\n{METHOD}", "methods/bad.py:1: cannot be imported: no file '_gone.py' beside it"),
        (f"from ._lacks import x\n{METHOD}", "methods/_lacks.py:1: cannot be imported: no module 'nowhere', and none"),
        (f"from ._broken import x\n{METHOD}", "methods/_broken.py:1: cannot be read as Python: invalid syntax"),
        (ATTACK.replace('"l2"', '"l2", "settings": {"n": 1}'), "methods/bad.py:1: ATTACK: the function `attack` takes"),
        (
            ATTACK.replace('"l2"', '"l2", "settings": {"eps": 1}'),
            "methods/bad.py:1: ATTACK: settings.eps: every attack",
        ),
        (
            METHOD.replace("mine", "other").replace('"]', '"], "settings": {"copy": 1}'),
            "methods/bad.py: METHOD: settings.copy: this name is taken; choose another one",
        ),
        (
            METHOD.replace("mine", "other").replace('"]', '"], "settings": {"n": {"default": 0, "ge": 1}}'),
            "methods/bad.py: METHOD: settings: n = 0: input should be greater than or equal to 1",
        ),
        (
            METHOD.replace("mine", "other").replace('"]', '"], "settings": {"n": {"default": "a", "ge": 1}}'),
            "methods/bad.py:1: METHOD: settings.n: only a number has a range",
        ),
        (
            "ADAPTER = make()\n",
            "methods/bad.py:1: ADAPTER: must be written as Adapter(name='...', modality='...', ...)",
        ),
        ("ADAPTER = Adapter(name='a', modality='x')\n", 'methods/bad.py:1: ADAPTER: modality = "x": unknown modality'),
        (
            "ADAPTER = Adapter(name='digits', modality='image')\n",
            "methods/bad.py: a data set 'digits' is there already",
        ),
    ],
)
def test_a_mistake_in_a_plugin_is_one_line_that_names_its_file(project: Path, text: str, told: str) -> None:
    write(project, "methods/bad.py", text)
    write(project, "methods/_lacks.py", "import nowhere\nfrom .bad import x\n")
    write(project, "methods/_broken.py", "def f(:\n")
    assert mistake().startswith(told)


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ("[metods]", "params.yaml: plugins: metods: no such Python file or folder here, and no installed module"),
        ("[nowhere.mine]", "params.yaml: plugins: nowhere.mine: no such Python file or folder here, and no installed"),
        ("[../elsewhere]", "params.yaml: plugins: ../elsewhere/mine.py: must lie in the project folder"),
        ("[a.b.py]", "params.yaml: plugins: a.b.py: must lie in the project folder, and have no dot but that of .py"),
        ("methods", 'params.yaml: plugins = "methods": must be a list'),
        ("[1]", "params.yaml: plugins.0 = 1: input should be a valid string"),
    ],
)
def test_a_mistake_in_the_list_is_one_line(project: Path, names: str, told: str) -> None:
    write(project.parent, "elsewhere/mine.py", METHOD)
    write(project, "a.b.py", METHOD)
    write(project, "params.yaml", f"extends: contrastbench\nplugins: {names}\n")
    assert mistake().startswith(told)


@pytest.mark.parametrize(
    ("attacks", "told"),
    [
        ("{}", "own_attacks: names no attack; leave the section out, or name one of: "),
        ("{none: {epss: 1}}", "own_attacks.none.epss: unknown key; did you mean 'eps'?"),
        ("{nine: {}}", "own_attacks.nine: unknown key; did you mean 'none'?"),
        ("{none: {eps: []}}", "own_attacks.none.eps = []: "),
    ],
)
def test_a_mistake_in_own_attacks_is_one_line(project: Path, attacks: str, told: str) -> None:
    write(project, "methods/none.py", ATTACK)
    write(project, "params.yaml", f"extends: contrastbench\nplugins: [methods]\nswaro: {{own_attacks: {attacks}}}\n")
    assert mistake().startswith(f"params.yaml: swaro.{told}")


def test_own_attacks_need_classifiers_and_radii_of_their_norm(project: Path) -> None:
    write(project, "methods/none.py", ATTACK)
    start = "extends: contrastbench\nplugins: [methods]\n"
    write(project, "params.yaml", f"{start}unremix: {{own_attacks: {{none: {{}}}}}}\n")
    assert "unremix.own_attacks: the track has no section `robustness`" in mistake()
    budget = "swaro: {robustness: {budgets: {mnist5k: {l2: []}}}, own_attacks: {none: %s}}\n"
    write(project, "params.yaml", start + budget % "{}")
    assert "swaro.own_attacks.none.eps: no radii: there are none of its norm in robustness.budgets.mnist5k" in mistake()
    write(project, "params.yaml", start + budget % "{eps: [1.0]}")
    (attack,) = own_attacks(load().track("swaro").own_attacks).values()
    assert attack.radii("none", load().track("swaro").robustness.budget("mnist5k")) == (1.0,)  # type: ignore[union-attr]


def test_a_module_that_fails_when_it_is_imported_is_one_line(project: Path) -> None:
    write(project, "methods/_helper.py", "def f():\n    raise RuntimeError('no licence\\nfor this')\n")
    write(project, "methods/mine.py", f"from ._helper import f\n{METHOD}\nf()\n")
    load()
    with pytest.raises(UserError) as caught:
        method_class("mine")
    assert str(caught.value).startswith(f"{project}/methods/mine.py:5: cannot be imported: RuntimeError: no licence")
    write(project, "methods/_other.py", "import nowhere\n")
    write(project, "methods/mine.py", f"from ._other import f\n{METHOD}")
    with pytest.raises(UserError, match=r"methods/_other.py:1: cannot be imported: ModuleNotFoundError: No module"):
        method_class("mine")
    write(project, "methods/mine.py", METHOD)
    with pytest.raises(UserError, match=r"methods/mine.py: class Mine is no contrastbench.methods.base.Method"):
        method_class("mine")


def states(project: Path) -> dict[str, str]:
    """What makes four jobs stale, as a new process finds it."""
    forget()
    grid = Grid()
    found = {
        f"{stage} {job.method}": grid.state(stage, job) for stage in ("pretrain", "features") for job in (OWN, OTHER)
    }
    return found | {"digits": grid.prepare_state("digits")}


@pytest.mark.parametrize(
    "edited", ["methods/mine.py", "methods/_helper.py", "methods/table.csv", "methods/a/b/c.csv", "methods/d/e.csv"]
)
def test_an_edit_of_own_code_makes_its_own_jobs_stale_and_a_comment_none(project: Path, edited: str) -> None:
    write(project, "methods/_helper.py", "X = 1\n")
    write(project, "methods/table.csv", "1\n")
    write(project, "methods/other.csv", "1\n")
    write(project, "methods/a/b/c.csv", "1\n")
    write(project, "methods/a/other.csv", "1\n")
    write(project, "methods/d/e.csv", "1\n")
    named = "TABLES = 'table.csv', 'a/b/c.csv', Path(__file__).parent / 'd' / 'e.csv'"
    write(project, "methods/mine.py", f"from ._helper import X\n{named}\n{METHOD}")
    before, text = states(project), (project / edited).read_text()
    if edited.endswith(".py"):
        write(project, edited, f"# a comment\n{text}\n\n")
    write(project, "methods/other.csv", "2\n")
    write(project, "methods/a/other.csv", "2\n")
    assert states(project) == before
    write(project, edited, f"{text}Y = 2\n")
    after = states(project)
    assert {name for name in before if after[name] != before[name]} == {"pretrain mine", "features mine"}


def test_an_edit_of_an_own_data_set_or_attack_makes_just_its_jobs_stale(template: Path) -> None:
    def found() -> dict[str, str]:
        forget()
        grid, job = Grid("first"), Job("swaro", "stripes", "align-uniform", 0)
        return {name: grid.state(name, job) for name in ("pretrain", "attack", "own_attack")} | {
            "prepare": grid.prepare_state("stripes")
        }

    before = found()
    for edited, stale in (("datasets/stripes.py", {"prepare"}), ("attacks/random_corners.py", {"own_attack"})):
        text = (template / edited).read_text()
        write(template, edited, f"{text}X = 1\n")
        assert {name for name, state in found().items() if state != before[name]} == stale
        write(template, edited, text)


def test_the_code_of_a_plugin_is_the_same_wherever_the_project_lies(project: Path, tmp_path_factory) -> None:
    before, elsewhere = states(project), tmp_path_factory.mktemp("elsewhere")
    for path in ("params.yaml", "methods/mine.py"):
        write(elsewhere, path, (project / path).read_text())
    forget()
    assert Grid("default", elsewhere).state("pretrain", OWN) == before["pretrain mine"]


def test_an_installed_module_can_be_a_plugin(project: Path, tmp_path_factory, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path_factory.mktemp("site")
    write(site, "mypackage/__init__.py", "")
    write(site, "mypackage/core.py", "X = 1\n")
    write(site, "mypackage/method.py", f"from mypackage.core import X\n{METHOD}\nraise RuntimeError('no')\n")
    monkeypatch.syspath_prepend(site)
    write(project, "params.yaml", "extends: contrastbench\nplugins: [mypackage.method]\n")
    before = states(project)
    write(site, "mypackage/core.py", "X = 2\n")
    assert {name for name, state in states(project).items() if state != before[name]} == {
        "pretrain mine",
        "features mine",
    }
    with pytest.raises(UserError, match=r"mypackage/method.py:5: cannot be imported: RuntimeError: no"):
        method_class("mine")
    assert "mypackage.method" not in sys.modules
