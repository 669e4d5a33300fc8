"""Rows as older commits hold them (schema 1): a file per row, the protocol as a name, no method behind a variant."""

import re
from typing import Any

from pydantic import ValidationError

from contrastbench.errors import UserError
from contrastbench.registry import AUDIO_DATASETS, METHODS, RESERVED_IN_NAMES, WITHOUT_ENCODER
from contrastbench.results.protocols import FORMS, PARTS, Protocol
from contrastbench.results.rows import Row, validated

SCHEMA_THEN = 1
# Names of then that are others today. The worst case was of l_inf alone.
FORMS_THEN = {"apgd": "apgd-{steps}-{norm}@{eps:.4g}", "worst-case": "worst-case@{eps:.4g}"}
_FOUND = {
    "shots": r"\d+",
    "way": r"\d+",
    "steps": r"\d+",
    "classifier": r"[a-z0-9]+",
    "norm": r"l\w+",
    "eps": r"[\d.e+-]+",
    "snr_db": r"[\d.e+-]+",
    "source": r".+",
}
_NUMBERS = {"shots": int, "way": int, "steps": int, "eps": float, "snr_db": float}


def _pattern(form: str) -> re.Pattern[str]:
    text = re.sub(r"\\{(\w+)(:[^}]*)?\\}", lambda part: f"(?P<{part[1]}>{_FOUND[part[1]]})", re.escape(form))
    return re.compile(text)


# Families that came later have parts that no name was read for.
_PATTERNS = [
    (family, _pattern(form))
    for forms in (FORMS, FORMS_THEN)
    for family, form in forms.items()
    if PARTS[family] <= _FOUND.keys()
]


def protocol_from(name: str, detail: dict[str, Any]) -> Protocol:
    """The parts of a protocol called ``name``; attacks told norm, radius and head in ``detail``, at full precision."""
    head, plain = detail.get("head"), name
    if head in ("alf", "aff"):
        plain = name.removeprefix(f"{head}-")
    for family, pattern in _PATTERNS:
        found = pattern.fullmatch(plain)
        if found:
            parts: dict[str, Any] = {part: _NUMBERS.get(part, str)(text) for part, text in found.groupdict().items()}
            told = {part: detail[part] for part in ("eps", "norm", "steps", "snr_db") if detail.get(part)}
            if family == "clean":  # was said to be in l_inf
                told = {}
            known = {"norm": "linf"} if family == "worst-case" else {}
            return Protocol(family=family, head=head, **{**known, **parts, **told})
    raise UserError(f"unknown protocol {name!r}")


def name_then(protocol: Protocol) -> str:
    """What rows of schema 1 called a protocol."""
    today = FORMS[protocol.family].format_map(dict(protocol))
    then = FORMS_THEN.get(protocol.family, today).format_map(dict(protocol))
    return protocol.name.removesuffix(today) + then


def row_from(content: dict[str, Any], stage: str, source: str) -> Row:
    """A row of schema 1 as one of today; what cannot be one is a UserError naming ``source``."""
    try:
        name, detail, method = content["protocol"], content.get("detail", {}), content["method"]
        protocol = protocol_from(name, detail)
        if name not in (protocol.name, name_then(protocol)):
            raise UserError(f"its detail says {protocol.name!r}, its protocol {name!r}")
        bases = [known for known in (*METHODS, *WITHOUT_ENCODER) if f"{method}-".startswith(f"{known}-")]
    except UserError as error:
        raise UserError(f"{source}: not a result row: {error}") from None
    except ValidationError as error:
        raise UserError(f"{source}: not a result row: its protocol: {error.errors()[0]['msg']}") from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{source}: not a result row: {type(error).__name__}: {error}") from None
    told = set(PARTS[protocol.family]) | {"eps", "norm", "steps", "snr_db", "head", "source"}
    rest = {key: value for key, value in detail.items() if key not in told}
    base = max(bases, key=len, default="")  # a label's beginning was all that told; empty: not known
    new = {"stage": stage, "base": base, "detail": rest}
    return validated({**content, **new, "protocol": protocol.model_dump(exclude_none=True)}, source)


def hashes_spectrograms(row: Row) -> bool:
    """Whether ``data_hash`` is of spectrograms, as in schema 1, and not of their sound and front end."""
    return row.schema_version == SCHEMA_THEN and row.dataset.rpartition(RESERVED_IN_NAMES)[2] in AUDIO_DATASETS


def same_data(first: Row, second: Row) -> bool:
    """Whether two rows were judged on the same data, as far as they tell: hashes of two kinds contradict nothing."""
    return first.data_hash == second.data_hash or hashes_spectrograms(first) != hashes_spectrograms(second)


def same_parameters(first: Row, second: Row) -> bool:
    """Whether two rows name the same parameters, as far as they tell: hashes of two schemas contradict nothing."""
    return first.params_hash == second.params_hash or first.schema_version != second.schema_version
