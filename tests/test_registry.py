"""The registry: what an entry names exists, is of the right kind, and its settings load without torch."""

import subprocess
import sys
from collections import Counter

import pytest

from contrastbench import registry
from contrastbench.errors import UserError
from contrastbench.methods import Method, method_class
from contrastbench.params.settings import MethodSettings, NoSettings, settings_of_modality
from contrastbench.registry import (
    DATASETS,
    DATASETS_OF,
    METHODS,
    WITHOUT_ENCODER,
    has_own_classifier,
    method_module,
    methods_of,
    modality_name,
    settings_class,
    settings_key,
    starts_from,
)


@pytest.mark.parametrize("name", METHODS)
def test_an_entry_names_a_method_and_its_settings(name):
    entry = METHODS[name]
    assert issubclass(method_class(name), Method) and method_class(name).__module__ == method_module(name)
    assert issubclass(settings_class(name), MethodSettings)
    assert set(entry.modalities) <= set(DATASETS_OF) and entry.modalities
    assert entry.trains == method_class(name).trains
    assert entry.starts_from is None or set(entry.modalities) <= set(METHODS[entry.starts_from].modalities)


def test_names_are_no_reserved_ones_and_none_is_another_in_params_yaml():
    names = [*METHODS, *WITHOUT_ENCODER]
    assert not [name for name in (*names, *DATASETS) if registry.RESERVED_IN_NAMES in name]
    assert registry.RESERVED_NAME not in (*names, *DATASETS, *DATASETS_OF)
    assert max(Counter(map(settings_key, names)).values()) == 1
    assert sum(map(len, DATASETS_OF.values())) == len(DATASETS)


def test_what_entries_say():
    assert [name for name in METHODS if starts_from(name)] == ["mae-ct", "uamix-mae"] and starts_from("mae-ct") == "mae"
    assert [name for name in METHODS if has_own_classifier(name)] == ["supervised", "pgd-at", "trades"]
    assert starts_from("pixels") is None and not has_own_classifier("pixels")
    assert methods_of("audio") == ["random", "log-mel", "frozen", "mae", "mae-joint", "mae-ct", "uamix-mae"]
    assert settings_class("random") is NoSettings and settings_key("pgd-at") == "pgd_at"
    assert modality_name("digits") == "image" and modality_name("fsdd") == "audio"
    for ask in (method_module, settings_class, starts_from, has_own_classifier):
        with pytest.raises(UserError, match="unknown method 'simcrl'; did you mean 'simclr'\\?"):
            ask("simcrl")
    with pytest.raises(UserError, match="unknown data set 'digit'; did you mean 'digits'\\?"):
        modality_name("digit")


def test_the_settings_of_a_modality_are_those_of_its_methods():
    for modality in DATASETS_OF:
        assert list(settings_of_modality(modality).model_fields) == [
            settings_key(name) for name in methods_of(modality)
        ]


def test_all_settings_load_without_torch():
    code = "import sys\nfrom contrastbench.registry import METHODS, settings_class\n"
    code += "[settings_class(name) for name in METHODS]\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
