"""Parameters: every mistake is one line that names the file, the key path, the value and the remedy."""

import shutil
from pathlib import Path

import pytest
import yaml

from contrastbench.datasets import adapter
from contrastbench.errors import UserError
from contrastbench.params.base import overlay, params_hash, read_yaml
from contrastbench.params.root import load, presets
from contrastbench.registry import DATASETS, DATASETS_OF, IMAGE_DATASETS, MODALITIES, WITHOUT_ENCODER


@pytest.fixture
def project(tmp_path: Path, repository: Path) -> Path:
    """A folder with the repository's own parameters, to be spoilt."""
    shutil.copy(repository / "params.yaml", tmp_path)
    shutil.copytree(repository / "presets", tmp_path / "presets")
    return tmp_path


def change(file: Path, path: str, value: object) -> None:
    """Set the dotted key ``path`` in a YAML file."""
    content = yaml.safe_load(file.read_text()) or {}
    section = content
    *parents, last = path.split(".")
    for parent in parents:
        section = section.setdefault(parent, {})
    section[last] = value
    file.write_text(yaml.safe_dump(content))


def message_of(root: Path, preset: str = "default") -> str:
    with pytest.raises(UserError) as caught:
        load(preset, root)
    message = str(caught.value)
    assert "\n" not in message
    return message


UNREMIX = "unremix.settings.unremix"
DEFAULTS = yaml.safe_load((Path(__file__).resolve().parent.parent / "params.yaml").read_text(encoding="utf-8"))
ROBUSTNESS = DEFAULTS["swaro"]["robustness"]
FEW_SHOT, LOW_SHOT, AUDIO_ATTACK = (DEFAULTS["uamix"][name] for name in ("few_shot", "low_shot", "audio_attack"))


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("unremix.training.batchsize", 64, "unremix.training.batchsize: unknown key; did you mean 'batch_size'?"),
        ("unremix.settings.SimCLR", {}, "unremix.settings.SimCLR: unknown key; did you mean 'simclr'?"),
        ("unremix.methods", ["Sim_CLR"], "unknown method 'Sim_CLR'; did you mean 'simclr'?"),
        ("unremix.encoder.zzz", 1, "unknown key; known keys: architecture, grey_as_colour, input_size, "),
        ("unremix.training.epochs", "ten", 'unremix.training.epochs = "ten": input should be a valid integer'),
        ("unremix.training.epochs", 2.5, "unremix.training.epochs = 2.5"),
        ("unremix.training.epochs", True, "unremix.training.epochs = true"),
        ("unremix.training.epochs", 0, "unremix.training.epochs = 0: input should be greater than or equal to 1"),
        ("unremix.training.batch_size", 1, "batch_size = 1: input should be greater than or equal to 2"),
        ("unremix.training.optimizer", "adm", "optimizer = \"adm\": input should be 'adam', 'adamw', 'sgd' or 'lars'"),
        ("data.validation_fraction", 0.9, "data.validation_fraction = 0.9: input should be less than 0.5"),
        ("unremix.augment.blur_kernel", 4, "blur_kernel must be odd"),
        ("unremix.augment.crop_scale", [0.5, 0.2], "crop_scale must be [low, high]"),
        ("unremix.seeds", [], "unremix.seeds = []"),
        ("unremix.seeds", [-1], "unremix.seeds.0 = -1"),
        ("unremix.methods", ["simclr", "unremx"], "unknown method 'unremx'; did you mean 'unremix'?"),
        (f"{UNREMIX}.weights", [0.5, 0.5, 0.5], "weights [0.5, 0.5, 0.5] must sum to 1, not 1.5"),
        (f"{UNREMIX}.weights", [1.5, -0.5, 0.0], f"{UNREMIX}.weights.1 = -0.5"),
        (f"{UNREMIX}.weights", [0.5, 0.5], f"{UNREMIX}.weights"),
        (f"{UNREMIX}.tau_plus", 1.0, f"{UNREMIX}.tau_plus = 1.0: input should be less than 1"),
        ("unremix.settings.dcl.tau_plus", 1.5, "unremix.settings.dcl.tau_plus = 1.5"),
        (f"{UNREMIX}.temperature", 0, f"{UNREMIX}.temperature = 0"),
        (f"{UNREMIX}.uncertainty", "entropy", "input should be 'norm', 'gradsim' or 'infonce_z'"),
        (f"{UNREMIX}.sharpness", [1.0, 1.0], "unremix.sharpness = [1.0, 1.0]: tuple should have at least 3 items"),
        (f"{UNREMIX}.sharpness", [1.0, -1.0, 1.0], "sharpness.1 = -1.0: input should be greater than or equal to 0"),
        (f"{UNREMIX}.sharpness", 2.0, "unremix.settings.unremix.sharpness = 2.0: must be a list"),
        (f"{UNREMIX}.posterior_temperature", 0, "posterior_temperature = 0: input should be greater than 0"),
        (
            "unremix.diagnostics.encoder",
            "simcrl",
            "is no method that contrasts two views of a batch; did you mean 'sim",
        ),
        ("unremix.diagnostics.top", 1.0, "unremix.diagnostics.top = 1.0: input should be less than 1"),
        (f"{UNREMIX}.normalization", "softmax", "input should be 'minmax', 'softmix' or 'exp'"),
        (
            "unremix.variants.simclr",
            {"method": "unremix", "settings": {}},
            "unremix.variants.simclr = \"simclr\": 'simclr' is the name of a method; choose",
        ),
        (
            "swaro.variants.long",
            {"method": "rocl", "training": {"epoch": 15}},
            "swaro.variants.long.training.epoch: unknown key; did you mean 'epochs'?",
        ),
        (
            "swaro.variants.long",
            {"method": "rocl", "training": {"epochs": 0}},
            "swaro.variants.long.training.epochs = 0: input should be greater than or equal to 1",
        ),
        (
            "swaro.variants.long",
            {"method": "rocl", "training": 15},
            "swaro.variants.long.training = 15: must be a section",
        ),
        (
            "swaro.variants.long",
            {"method": "rocl", "encoder": {"width": "wide"}},
            'swaro.variants.long.encoder.width = "wide": input should be a valid integer',
        ),
        (
            "swaro.variants.long",
            {"method": "swaro", "training": {"batch_size": 16}},
            "swaro.variants.long: prototypes 30 exceed the 16 embeddings of a batch of 16",
        ),
        ("uamix.variants.long", {"method": "mae", "training": {"epochs": 15}}, "variants.long.training: unknown key;"),
        (
            "uamix.variants.long",
            {"method": "mae", "tuning.head_step.top_k": 2},
            "uamix.variants.long.tuning.head_step.top_k: mae does not read this key",
        ),
        (
            "uamix.variants.long",
            {"method": "mae-joint", "tuning": {"head": {"output": 8}, "head_step": {"top_k": 2}}},
            "uamix.variants.long.tuning.head_step.top_k: mae-joint does not read this key",
        ),
        (
            "uamix.variants.long",
            {"method": "mae-ct", "tuning.encoder_step.frozen_blocks": 5},
            "uamix.variants.long: tuning.encoder_step.frozen_blocks must be at most encoder.depth (4)",
        ),
        (
            "uamix.variants.long",
            {"method": "mae-ct", "encoder.patch": 7},
            "uamix.variants.long: front_end.frames and front_end.mels must be multiples of encoder.patch (7)",
        ),
        (
            "uamix.variants.long",
            {"method": "mae", "front_end": {"mels": 32}},
            "uamix.variants.long.front_end: all variants of a track share its spectrograms; change `front_end` in a",
        ),
        (
            "uamix.variants.uamix-cutmix-start",
            {"method": "mae"},
            "uamix.variants.uamix-cutmix-start: is what 'uamix-cutmix' would start from; choose another name",
        ),
        (
            "swaro.variants.long",
            {"method": "rocl", "training": {"epochs": 3}, "training.epochs": 4},
            "swaro.variants.long: training.epochs is given twice",
        ),
        ("swaro.search.seed", 1, "swaro.search.seed = 1: must be none of the track's `seeds`"),
        (
            "swaro.search.methods",
            ["rcl"],
            "swaro.search.methods.0 = \"rcl\": unknown method 'rcl'; did you mean 'rocl'?",
        ),
        ("swaro.search.trials", 1, "swaro.search.trials = 1: input should be greater than or equal to 2"),
        (
            "swaro.search.shared",
            {"settings.temprature": {"log": [0.1, 1.0]}},
            "swaro.search.shared.settings.temprature: no method of the track has this key; did you mean "
            "'settings.temperature'?",
        ),
        (
            "swaro.search.shared",
            {"settings.temperature": {"log": [1.0, 0.1]}},
            "swaro.search.shared.settings.temperature.log = [1.0, 0.1]: must be [low, high] with low < high",
        ),
        (
            "swaro.search.shared",
            {"settings.temperature": {"linear": [0.1, 0.1]}},
            "swaro.search.shared.settings.temperature.linear = [0.1, 0.1]: must be [low, high] with low < high",
        ),
        (
            "swaro.search.shared",
            {"settings.temperature": {"log": [0, 0.1]}},
            "swaro.search.shared.settings.temperature.log = [0.0, 0.1]: must begin above 0",
        ),
        (
            "swaro.search.shared",
            {"settings.temperature": {"log": [0.1, 1.0], "linear": [0.1, 1.0]}},
            "swaro.search.shared.settings.temperature: must have just one of log, linear, integer, choice, simplex",
        ),
        (
            "swaro.search.shared",
            {"training.learning_rate": {"linear": [-0.1, 0.1]}},
            "swaro.search.shared.training.learning_rate = -0.1: input should be greater than 0",
        ),
        (
            "swaro.search.shared",
            {"probe.l2_grid": {"choice": [[0.1], [1.0]]}},
            "swaro.search.shared.probe: must be a key of settings, encoder, projector, augment, training",
        ),
        (
            "swaro.search.own",
            {"trades": {"settings.bta": {"linear": [1.0, 2.0]}}},
            "swaro.search.own.trades.settings.bta: unknown key; did you mean 'beta'?",
        ),
        (
            "swaro.search.own",
            {"pgd-at": {"settings.beta": {"linear": [1.0, 2.0]}}},
            "swaro.search.own.pgd-at.settings.beta: unknown key; known keys: eps, step_size, steps",
        ),
        (
            "swaro.search.own",
            {"swaro": {"settings.prototypes": {"integer": [10, 200]}}},
            "swaro.search.own.swaro: prototypes 200 exceed the 128 embeddings of a batch of 128 and no queue",
        ),
        (
            "swaro.search.own",
            {"trade": {"settings.beta": {"linear": [1.0, 2.0]}}},
            "swaro.search.own.trade = \"trade\": unknown method 'trade'; did you mean 'trades'?",
        ),
        (
            "swaro.search.changes",
            {"training.epoch": 3},
            "swaro.search.changes.training.epoch: unknown key; did you mean 'epochs'?",
        ),
        (
            "uamix.search.own",
            {"mae": {"tuning.head_step.top_k": {"integer": [1, 3]}}},
            "uamix.search.own.mae.tuning.head_step.top_k: mae does not read this key",
        ),
        (
            "uamix.search.own",
            {"uamix-mae": {"settings.mixing": {"choice": ["cutmix", "mix"]}}},
            "uamix.search.own.uamix-mae.settings.mixing.choice.1 = \"mix\": input should be 't-cutmix'",
        ),
        ("swaro.variants.rocl-trial-01", {"method": "rocl"}, "variants.rocl-trial-01: is the label of a trial of"),
        (
            "unremix.search.measure",
            "pgd",
            'unremix.search.measure = "pgd": the track needs a section `robustness` to judge trials by',
        ),
        (
            "swaro.cost",
            ["rocl-15-epoch"],
            "swaro.cost.0 = \"rocl-15-epoch\": unknown method 'rocl-15-epoch'; did you mean",
        ),
        (
            "unremix.variants.unremix-exp",
            {"method": "unremix", "settings": {"normalisation": "exp"}},
            "unremix.variants.unremix-exp.settings.normalisation: unknown key; did you mean 'normalization'?",
        ),
        (
            "unremix.variants.unremix-exp",
            {"method": "unremix", "settings": {"weights": [1.0, 1.0, 0.0]}},
            "unremix.variants.unremix-exp.settings: weights [1.0, 1.0, 0.0] must sum to 1",
        ),
        (
            "unremix.datasets",
            ["mnist6k"],
            "unremix.datasets.0 = \"mnist6k\": unknown data set 'mnist6k'; did you mean 'mnist5k'?",
        ),
        ("unremix.datasets", ["digits", "zzz"], "unknown data set 'zzz'; known: digits, mnist5k, cifar10"),
        (
            "unremix.datasets",
            ["esc50"],
            "unremix.datasets.0 = \"esc50\": 'esc50' holds audio data, not image data; known: digits",
        ),
        ("unremix.datasets", ["digits", "digits"], "'digits' is listed twice"),
        ("unremix.datasets", [], "unremix.datasets = []"),
        ("swaro.datasets", ["fsdd"], "swaro.datasets.0 = \"fsdd\": 'fsdd' holds audio data, not image data"),
        (
            "swaro.robustness.budgets.mnist5",
            {},
            "swaro.robustness.budgets.mnist5 = \"mnist5\": unknown data set 'mnist5'; did",
        ),
        ("uamix.datasets", ["mnist5k"], "uamix.datasets.0 = \"mnist5k\": 'mnist5k' holds image data, not audio data"),
        (
            "uamix.few_shot.datasets.instruments",
            ["esc5"],
            "uamix.few_shot.datasets.instruments.0 = \"esc5\": unknown data set 'esc5'; did you mean 'esc50'?",
        ),
        (
            "uamix.low_shot.datasets.digits",
            ["esc50"],
            "uamix.low_shot.datasets.digits = \"digits\": 'digits' holds image data",
        ),
        ("uamix.audio_attack.datasets.instruments", ["fsdd", "fsdd"], "'fsdd' is listed twice"),
        ("uamix.few_shot.class_of.instrument", "group", "unknown data set 'instrument'; did you mean 'instruments'?"),
        (
            "unremix.transfer",
            [{"train": "mnist5k", "probe": "esc50"}],
            "unremix.transfer.0.probe = \"esc50\": 'esc50' holds",
        ),
        ("unremix.transfer", [{"train": "mnist5k", "probe": "digits"}] * 2, "is listed twice"),
        (
            "unremix.transfer",
            [{"train": "mnist5k", "probe": "mnist5k"}],
            'unremix.transfer.0.probe = "mnist5k": must be another data set than `train`',
        ),
        (
            "unremix.variants.My_V",
            {"method": "unremix", "settings": {}},
            'unremix.variants.My_V = "My_V": a variant\'s label',
        ),
        ("unremix.variants.My_V", {"method": "unremix", "settings": {}}, "for example 'my_v'"),
        (
            "unremix.variants.-x",
            {"method": "unremix", "settings": {}},
            "(the last two not at its start), for example 'x'",
        ),
        ("unremix.variants.é", {"method": "unremix", "settings": {}}, "label is made of a to z"),
        (f"unremix.variants.{'x' * 101}", {"method": "unremix", "settings": {}}, "label is made of a to z"),
        ("swaro.variants.pgd_at", {"method": "trades", "settings": {}}, "'pgd-at' and 'pgd_at' differ in - and _ only"),
        (
            "unremix.variants.again",
            {"method": "unremix-exp", "settings": {"beta": 1.0}},
            "variants.again.method = \"unremix-exp\": 'unremix-exp' is a variant itself; name the registered method, "
            "'unremix'",
        ),
        (
            "unremix.variants.grey",
            {"method": "pixels", "settings": {}},
            "variants.grey.method = \"pixels\": 'pixels' is a reference row without an encoder; it has no settings",
        ),
        (
            "unremix.variants.unremix-exp",
            {"method": "unremix", "settings": {"posterior_temperature": True}},
            "unremix.variants.unremix-exp.settings.posterior_temperature = true: input should be a valid number",
        ),
        (
            "unremix.variants.unremix-exp",
            {"method": "unremix", "settings": {"detach_weights": 1}},
            "unremix.variants.unremix-exp.settings.detach_weights = 1: input should be a valid boolean",
        ),
        (
            "unremix.variants.all",
            {"method": "unremix", "settings": {}},
            "unremix.variants.all = \"all\": 'all' stands for every seed and method in results; choose another name",
        ),
        (
            "unremix.variants.pixels",
            {"method": "unremix", "settings": {}},
            "'pixels' is the name of a method; choose",
        ),
        (
            "unremix.variants.unremix-to-hcl",
            {"method": "unremix", "settings": {}},
            "\"unremix-to-hcl\": '-to-' stands for a transfer in results; choose another name",
        ),
        (
            "unremix.methods",
            ["simclr", "mae"],
            "unremix.methods.1 = \"mae\": the method 'mae' takes audio data",
        ),
        ("uamix.ablation", ["simclr"], "uamix.ablation.0 = \"simclr\": the method 'simclr' takes image data, and this"),
        ("unremix.methods", ["swav"], "the method 'swav' needs a section settings.swav in this track"),
        ("unremix.settings.mae", {}, "unremix.settings.mae: unknown key; known keys: a_infonce, acl"),
        ("unremix.settings.zzz", {}, "unremix.settings.zzz: unknown key; known keys: a_infonce, acl, clae"),
        ("unremix.settings.dcl.tau", 0.1, "unremix.settings.dcl.tau: unknown key; did you mean 'tau_plus'?"),
        ("swaro.settings.supervised", {"eps": 1}, "swaro.settings.supervised.eps: unknown key; known keys: none"),
        (
            "unremix.audio_attack",
            AUDIO_ATTACK,
            "unremix.audio_attack: this section attacks sound, and this track",
        ),
        ("uamix.robustness", ROBUSTNESS, "uamix.robustness: this section attacks images, and this track takes audio"),
        ("unremix.few_shot", FEW_SHOT, "unremix.few_shot.datasets.instruments = \"instruments\": 'instruments' holds"),
        (
            "uamix.transfer",
            [{"train": "digits", "probe": "digits"}],
            "uamix.transfer.0.train = \"digits\": 'digits'",
        ),
        ("tracks", ["unremix", "swarro"], "tracks.1 = \"swarro\": unknown track 'swarro'; did you mean 'swaro'?"),
        ("tracks", ["unremix", "unremix"], "'unremix' is listed twice"),
        ("unremix.encoder", 3, "unremix.encoder = 3: must be a section"),
        ("unremix.methods", "simclr", 'unremix.methods = "simclr": must be a list'),
        ("unremix.encoder.stem_stride", True, "unremix.encoder.stem_stride = true: input should be a valid integer"),
        ("unremix.seeds", [5_000_000_000], "unremix.seeds.0 = 5000000000: input should be less than 4294967296"),
        ("unremix.probe.l2_grid", [], "unremix.probe.l2_grid = []"),
        ("unremix.probe.l2_grid", [0.0], "unremix.probe.l2_grid.0 = 0.0: input should be greater than 0"),
        ("unremix.probe.l2_grid", [1.0, -1.0], "unremix.probe.l2_grid.1 = -1.0: input should be greater than 0"),
        ("unremix.probe.l2_grid", [1.0, 1.0], "unremix.probe.l2_grid = [1.0, 1.0]: 1.0 is listed twice"),
        ("unremix.probe.low_label_shots", [0], "unremix.probe.low_label_shots.0 = 0: input should be greater than"),
        ("unremix.probe.low_label_shots", [5, -5], "unremix.probe.low_label_shots.1 = -5"),
        ("unremix.probe.low_label_shots", [5, 5], "5 is listed twice"),
        ("swaro.robustness.l2_grid", [0.0], "swaro.robustness.l2_grid.0 = 0.0"),
        ("swaro.robustness.heads", ["slf", "slf"], "'slf' is listed twice"),
        ("swaro.robustness.budgets.mnist5k.linf", [0.1, 0.100001], "linf = [0.1, 0.100001]: '0.1' is listed twice"),
        ("swaro.robustness.budgets.mnist5k.l2", [1.0, 1.0], "l2 = [1.0, 1.0]: '1' is listed twice"),
        ("uamix.audio_attack.l2_grid", [1.0, 1.0], "1.0 is listed twice"),
        ("uamix.audio_attack.spectrogram", [0.1, 0.100001], "'0.1' is listed twice"),
        ("uamix.few_shot.shots", [1, 1], "uamix.few_shot.shots = [1, 1]: 1 is listed twice"),
        ("uamix.few_shot.classifiers", ["cl2n", "cl2n"], "'cl2n' is listed twice"),
        ("uamix.low_shot.shots", [], "uamix.low_shot.shots = []"),
        ("graphs.datasets", ["mutagg"], "unknown data set 'mutagg'; did you mean 'mutag'?"),
        ("graphs.datasets", ["digits"], "'digits' holds image data, not graph data; known: mutag, ptc-mr,"),
        ("unremix.datasets", ["mutag"], "'mutag' holds graph data, not image data; known: digits,"),
        ("graphs.methods", ["graphcl", "pixels"], "'pixels' takes image and audio data, and this track graph data"),
        ("graphs.methods", ["simclr"], "the method 'simclr' takes image data, and this track graph data"),
        ("unremix.methods", ["histogram"], "'histogram' takes graph data, and this track image data"),
        ("swaro.methods", ["wl-kernel"], "the reference row 'wl-kernel' takes graph data, and this track image data"),
        ("uamix.methods", ["histogram"], "'histogram' takes graph data, and this track audio data"),
        ("unremix.methods", ["graphcl"], "the method 'graphcl' takes graph data, and this track image data"),
        (
            "graphs.search",
            DEFAULTS["swaro"]["search"] | {"methods": ["graphcl"]},
            "graphs.search: trials are judged on",
        ),
        ("graphs.transfer", [{"train": "mutag", "probe": "nci1"}], "graphs.transfer: features of another data set's"),
        ("graphs.robustness", ROBUSTNESS, "graphs.robustness: this section attacks images"),
        ("graphs.folds", None, "graphs.folds = null: must be a section"),
        ("graphs.curve.every_epochs", 5, "graphs.curve.every_epochs = 5: must be 0"),
        ("graphs.inductive", {"folds": 3}, "graphs.inductive.folds: unknown key; known keys: none"),
        (
            "graphs.batches.mutga",
            94,
            "graphs.batches.mutga = \"mutga\": unknown data set 'mutga'; did you mean 'mutag'?",
        ),
        ("graphs.batches.digits", 94, "graphs.batches.digits = \"digits\": 'digits' holds image data, not graph data"),
        ("graphs.batches.mutag", 1, "graphs.batches.mutag = 1"),
        (
            "graphs.augment.kinds",
            ["nodes", "nodes"],
            'graphs.augment.kinds = ["nodes", "nodes"]: \'nodes\' is listed twice',
        ),
        ("graphs.augment.kinds", [], "graphs.augment.kinds = []"),
        ("graphs.augment.kinds", ["node"], "input should be 'nodes', 'edges', 'subgraph' or 'attributes'"),
        ("graphs.augment.share", 1.5, "graphs.augment.share = 1.5"),
        ("graphs.augment.walk", "random", "input should be 'connected' or 'published'"),
        ("graphs.folds.outer", 1, "graphs.folds.outer = 1: input should be greater than or equal to 2"),
        ("graphs.folds.strengths", [1.0, 1.0], "1.0 is listed twice"),
        ("graphs.encoder.layers", 0, "graphs.encoder.layers = 0"),
        ("graphs.settings.infograph_hcl.sign", "soft", "input should be 'published' or 'hard'"),
        ("graphs.settings.infograph_hcl.beta", -1.0, "graphs.settings.infograph_hcl.beta = -1.0"),
        ("graphs.settings.infograph_unremix.temperature", 0.2, "temperature: unknown key"),
        ("graphs.training.graphcl.epochs", 0, "graphs.training.graphcl.epochs = 0"),
        ("graphs.diagnostics.encoder", "infograph", "is no method that contrasts two views of a batch"),
        (
            "graphs.variants.long",
            {"method": "infograph", "augment": {"share": 0.2}},
            "graphs.variants.long.augment.share: infograph does not read this key",
        ),
        (
            "graphs.variants.long",
            {"method": "graphcl", "training": {"graphcl": {"batch_size": 16}}},
            "graphs.variants.long.training.graphcl.batch_size: `batches` decides the size",
        ),
        (
            "graphs.variants.long",
            {"method": "graphcl", "training.infograph.epochs": 3},
            "graphs.variants.long.training.infograph.epochs: graphcl does not read this key",
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_mistake_is_one_line_with_file_key_and_remedy(project, path, value, expected):
    change(project / "params.yaml", path, value)
    message = message_of(project)
    assert message.startswith(f"{project / 'params.yaml'}: ")
    assert expected in message.replace("Input", "input")


def test_data_sets_are_registered_under_their_modality():
    for modality, names in DATASETS_OF.items():
        assert {adapter(name).modality for name in names} == {modality}
    assert MODALITIES.keys() - DATASETS_OF.keys() == {"library-image", "library-sound"}, (
        "encoders are of it, and no data"
    )
    assert sum(map(len, DATASETS_OF.values())) == len(DATASETS)


def test_labels_of_variants_are_what_snakemakes_wildcards_take(repository):
    assert 'method="[a-z0-9_-]+",' in (repository / "src/contrastbench/workflow/Snakefile").read_text(encoding="utf-8")


def test_a_missing_key_is_named(project):
    content = yaml.safe_load((project / "params.yaml").read_text())
    del content["unremix"]["training"]["epochs"]
    (project / "params.yaml").write_text(yaml.safe_dump(content))
    assert "unremix.training.epochs: this key is required and missing" in message_of(project)


@pytest.mark.parametrize(
    ("path", "wrong"),
    [("unremix", "unremx"), ("unremix.training", "Training"), ("unremix.training.batch_size", "batch-size"),
     ("swaro.robustness.steps", "step"), ("data.validation_fraction", "validation_fracton")],
)  # fmt: skip
def test_a_misspelt_key_names_itself_and_its_neighbour_not_what_is_missing_for_it(project, path, wrong):
    file = project / "params.yaml"
    content = yaml.safe_load(file.read_text())
    *parents, last = path.split(".")
    section = content
    for parent in parents:
        section = section[parent]
    section[wrong] = section.pop(last)
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    key = ".".join([*parents, wrong])
    assert message_of(project).endswith(f"params.yaml: {key}: unknown key; did you mean {last!r}?")


def test_a_number_that_is_no_number_is_refused(project):
    change(project / "params.yaml", "unremix.training.learning_rate", float("nan"))
    assert "learning_rate" in message_of(project)
    change(project / "params.yaml", "unremix.training.learning_rate", float("inf"))
    assert "learning_rate" in message_of(project)


@pytest.mark.parametrize("text", ["1e-3", "1E-3", "0.001", "1.0e-3", "+1e-3"])
def test_exponents_are_numbers(tmp_path, text):
    (tmp_path / "x.yaml").write_text(f"rate: {text}\n")
    assert read_yaml(tmp_path / "x.yaml") == {"rate": 0.001}


def test_words_that_look_a_little_like_numbers_stay_words(tmp_path):
    (tmp_path / "x.yaml").write_text("a: 1e3x\nb: e3\nc: 32-true\n")
    assert read_yaml(tmp_path / "x.yaml") == {"a": "1e3x", "b": "e3", "c": "32-true"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\na: 2\n", "'a' is listed twice"),
        ("a: {b: 1, b: 2}\n", "'b' is listed twice"),
        ("a: [1\n", "not valid YAML"),
        ("- 1\n", "the top level must be a mapping"),
        ("foo: 2020-13-45\n", "not a valid timestamp: month must be in 1..12"),
        ("foo: !!int abc\n", "not a valid int: invalid literal"),
        ("foo: !!bool maybe\n", "not a valid bool: 'maybe'"),
        ("foo: !!timestamp now\n", "not a valid timestamp"),
        (f"foo: {'1' * 5000}\n", "not a valid int: "),
        ("foo: &a [*a]\n", "a section or list contains itself"),
        ("&a {foo: *a}\n", "a section or list contains itself"),
        (f"foo: {'[' * 3000}{']' * 3000}\n", "nested more than 100 levels deep"),
        ("- " * 200_000, "nested more than 100 levels deep"),
        ("? [a]\n: 1\n", "not valid YAML"),
        ("foo: {1: 2}\n", "foo: the key 1 is not text; put it in quotes"),
        ("foo: [{bar: 2024-01-01}]\n", "foo.0.bar = 2024-01-01: a YAML date, which no parameter can be"),
        ("foo: !!set {bar}\n", "foo = {'bar'}: a YAML set"),
    ],
    ids=lambda value: value[:20],
)
def test_a_malformed_file_is_one_line(tmp_path, text, expected):
    file = tmp_path / "x.yaml"
    file.write_text(text)
    with pytest.raises(UserError) as caught:
        read_yaml(file)
    assert str(caught.value).startswith(f"{file}: ") and expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_one_that_is_not_text(tmp_path):
    with pytest.raises(UserError, match="no such parameter file"):
        read_yaml(tmp_path / "x.yaml")
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not valid YAML"):
        read_yaml(tmp_path / "x.yaml")


def test_a_date_is_refused_and_not_a_traceback(project):
    (project / "params.yaml").write_text((project / "params.yaml").read_text() + "day: 2024-01-01\n")
    assert "params.yaml: day = 2024-01-01: a YAML date, which no parameter can be" in message_of(project)


@pytest.mark.parametrize("name", ["x" * 300, "nul\0", "../params", ""])
def test_a_preset_whose_name_is_no_file_name_is_unknown(project, name):
    assert message_of(project, name).startswith(f"unknown preset {name!r}; ")


@pytest.mark.parametrize("name", ["my preset", "a{b}", "a;b", "010", "1.5"])
def test_a_preset_whose_name_no_shell_command_takes_is_refused(project, name):
    (project / f"presets/{name}.yaml").write_text("{}\n")
    refused = "a preset's name is a letter, then letters, digits, - and _; rename the file"
    assert message_of(project, name).endswith(f"/presets/{name}.yaml: {refused}")


def test_a_key_that_lacks_in_a_section_of_the_preset_is_the_presets(project):
    (project / "presets/mine.yaml").write_text("unremix:\n  robustness: {}\n")
    assert "/presets/mine.yaml: unremix.robustness.budgets: this key" in message_of(project, "mine")
    content = yaml.safe_load((project / "params.yaml").read_text())
    del content["unremix"]["training"]["epochs"]
    (project / "params.yaml").write_text(yaml.safe_dump(content))
    (project / "presets/mine.yaml").write_text("unremix:\n  training: {batch_size: 64}\n")
    assert "/params.yaml: unremix.training.epochs: this key" in message_of(project, "mine")


def test_the_message_names_the_file_that_sets_the_value(project):
    change(project / "presets" / "smoke.yaml", "unremix.training.epochs", -1)
    assert message_of(project, "smoke").startswith(f"{project / 'presets' / 'smoke.yaml'}: unremix.training.epochs")
    change(project / "presets" / "smoke.yaml", "unremix.training.epochs", 1)
    change(project / "params.yaml", "unremix.training.learning_rate", -1.0)  # smoke does not set it
    assert message_of(project, "smoke").startswith(f"{project / 'params.yaml'}: unremix.training.learning_rate")


def test_a_mistake_in_a_variant_is_told_of_the_file_that_makes_it(project):
    change(project / "params.yaml", "swaro.variants.swaro-add.settings.loss", "sum")  # smoke sets other parts of swaro
    assert message_of(project, "smoke").startswith(f"{project / 'params.yaml'}: swaro.variants.swaro-add.settings.loss")


def test_a_preset_may_not_change_how_data_are_prepared(project):
    change(project / "presets" / "smoke.yaml", "data.validation_fraction", 0.2)
    assert "presets share the prepared data" in message_of(project, "smoke")


def test_an_unknown_preset_names_the_nearest(project):
    assert message_of(project, "smok") == "unknown preset 'smok'; did you mean 'smoke'?"
    assert message_of(project, "qqqqqq").startswith("unknown preset 'qqqqqq'; known: default, cifar,")


@pytest.mark.parametrize("preset", presets(Path(__file__).resolve().parent.parent))
def test_every_preset_is_valid_and_each_of_its_methods_resolves(repository, preset):
    params = load(preset, repository)
    for name in params.tracks:
        track = params.track(name)
        for label in {*track.methods, *track.ablation, *track.variants} - WITHOUT_ENCODER.keys():
            resolved = track.pretrain(label, track.datasets[0])
            assert resolved.method == track.base_method(label)


def test_an_unknown_track_is_refused(repository):
    with pytest.raises(UserError, match=r"unknown track 'unremixx'; did you mean 'unremix'\?"):
        load(root=repository).track("unremixx")


def test_overlay_merges_mappings_and_replaces_everything_else():
    base = {"a": {"b": 1, "c": [1, 2]}, "d": 3}
    assert overlay(base, {"a": {"c": [9]}, "e": 4}) == {"a": {"b": 1, "c": [9]}, "d": 3, "e": 4}
    assert base == {"a": {"b": 1, "c": [1, 2]}, "d": 3}


def test_a_variant_changes_its_settings_and_its_hash_alone(repository):
    track = load(root=repository).track("unremix")
    plain, variant = (track.pretrain(label, "mnist5k") for label in ("unremix", "unremix-exp"))
    assert variant.settings.model_dump() == plain.settings.model_dump() | {
        "normalization": "exp",
        "sharpness": (4.0, 4.0, 4.0),
    }
    assert plain.model_copy(update={"settings": variant.settings}) == variant
    assert params_hash(plain) != params_hash(variant)


def test_synchronised_batchnorm_changes_a_hash_only_where_it_is_switched_off(repository):
    training = load(root=repository).unremix.training
    assert "sync_batchnorm" not in training.model_dump() and training.sync_batchnorm
    apart = training.model_copy(update={"sync_batchnorm": False})
    assert type(training).model_validate_json(apart.model_dump_json()) == apart
    assert params_hash(apart) != params_hash(training)


def test_the_hash_is_of_the_values(repository, project):
    def hashed(root: Path) -> str:
        return params_hash(load(root=root).track("unremix").pretrain("simclr", "mnist5k"))

    before = hashed(repository)
    change(project / "params.yaml", "unremix.settings.hcl.beta", 2.0)  # another method's
    assert hashed(project) == before  # although the file's layout and comments are gone
    change(project / "params.yaml", "unremix.settings.simclr.temperature", 0.2)
    assert hashed(project) != before


# Rows of these parameters are in results/rows, and count only as long as their parameters have these hashes.
HASHES = {
    ("unremix", "simclr"): "6dadbc1dc245",
    ("unremix", "unremix"): "07829bf0f559",
    ("unremix", "unremix-exp"): "e4d15f81b2cf",
    ("unremix", "random"): "3852480d4edd",
    ("swaro", "swav"): "5c97f3ce93f8",
    ("swaro", "swaro"): "950fe6ba8554",
    ("swaro", "swaro-k60"): "b6a59f9ae368",
    ("swaro", "pgd-at"): "57c0efb767eb",
    ("swaro", "supervised"): "3e8563040bd0",
    ("uamix", "mae"): "3f435997e09d",
    ("uamix", "mae-joint"): "a6b66b96688b",
    ("uamix", "mae-ct"): "bb329d49557b",
    ("uamix", "uamix-mae"): "3a331eef19a1",
    ("uamix", "uamix-unremix"): "6d0f2e905c24",
}
SECTION_HASHES = {
    ("unremix", "probe"): "330453c8cff9",
    ("swaro", "probe"): "41413f54d817",
    ("unremix", "corruptions"): "985f034e473e",
    ("unremix", "diagnostics"): "5543e952087e",
    ("swaro", "corruptions"): "985f034e473e",
    ("swaro", "robustness"): "10d108c80af5",
    ("uamix", "front_end"): "bc06d6fa8f3d",
    ("uamix", "few_shot"): "8429417fc13e",
    ("uamix", "low_shot"): "8c5f048dbd0e",
    ("uamix", "audio_attack"): "65e46c9fd993",
    ("uamix", "probe"): "3de60e267a95",
}


def test_hashes_that_rows_in_the_repository_name_are_what_they_were(repository):
    params = load(root=repository)
    found = {
        (track, label): params_hash(params.track(track).pretrain(label, params.track(track).datasets[0]))
        for track, label in HASHES
    }
    assert found == HASHES
    sections = {key: params_hash(getattr(params.track(key[0]), key[1])) for key in SECTION_HASHES}
    assert sections == SECTION_HASHES and params_hash(params.data) == "7de9fb30180f"


def test_every_track_can_hold_every_section_of_its_modality(project):
    digits = {"datasets": {"mnist5k": ["mnist5k", "digits"]}}
    file = project / "params.yaml"
    change(file, "unremix.robustness", ROBUSTNESS)
    change(file, "unremix.few_shot", FEW_SHOT | digits | {"class_of": {}})
    change(file, "unremix.low_shot", LOW_SHOT | digits)
    change(file, "uamix.transfer", [{"train": "instruments", "probe": "fsdd"}])
    params = load(root=project)
    assert params.track("unremix").robustness == params.track("swaro").robustness
    assert params.track("unremix").few_shot.datasets == {"mnist5k": ("mnist5k", "digits")}
    assert params.track("uamix").transfer[0].probe == "fsdd"
    assert params.track("unremix").modality == "image" and params.track("uamix").modality == "audio"


def test_a_trials_label_is_one_that_jobs_can_have(project):
    content, long = yaml.safe_load((project / "params.yaml").read_text()), "a" * 95
    content["swaro"]["variants"][long] = {"method": "rocl"}
    content["swaro"]["search"]["methods"] = [long]
    (project / "params.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match=f"methods.0: of the trial '{long}-trial-11': a variant's label is made of"):
        load(root=project)


def test_a_section_that_is_left_out_or_null_is_none_and_is_not_dumped(project):
    content = yaml.safe_load((project / "params.yaml").read_text())
    for name in ("robustness", "search", "transfer"):
        del content["swaro"][name]
    content["uamix"]["few_shot"] = content["uamix"]["search"] = None
    (project / "params.yaml").write_text(yaml.safe_dump(content))
    params = load(root=project)
    swaro, uamix = params.track("swaro"), params.track("uamix")
    assert swaro.robustness is None and uamix.few_shot is None and swaro.transfer == ()
    assert not {"robustness", "few_shot", "low_shot", "audio_attack", "transfer"} & swaro.model_dump().keys()
    assert {"low_shot", "audio_attack"} <= uamix.model_dump().keys() and "few_shot" not in uamix.model_dump()
    assert set(uamix.model_dump()["settings"]) == {"mae", "mae_joint", "mae_ct", "uamix_mae"}


def test_any_image_track_trains_any_image_method_whose_settings_it_has(project):
    change(project / "params.yaml", "unremix.settings.swav", DEFAULTS["swaro"]["settings"]["swav"])
    change(project / "params.yaml", "unremix.methods", ["swav", "supervised"])  # supervised has no settings to give
    params = load(root=project)
    ours, theirs = (params.track(name).pretrain("swav", "mnist5k") for name in ("unremix", "swaro"))
    assert (ours.track, theirs.track) == ("unremix", "swaro") and ours.settings == theirs.settings
    assert params.track("unremix").pretrain("supervised", "mnist5k").settings.model_dump() == {}


def test_a_data_set_may_not_have_the_name_of_a_transfer(project, monkeypatch):
    monkeypatch.setitem(IMAGE_DATASETS, "a-to-b", "contrastbench.datasets.digits")
    monkeypatch.setitem(DATASETS, "a-to-b", "contrastbench.datasets.digits")
    change(project / "params.yaml", "unremix.datasets", ["a-to-b"])
    assert "'-to-' stands for a transfer in results; rename the data set 'a-to-b'" in message_of(project)


def test_sections_are_immutable(repository):
    params = load(root=repository)
    with pytest.raises(ValueError, match="frozen"):
        params.data.validation_fraction = 0.3
