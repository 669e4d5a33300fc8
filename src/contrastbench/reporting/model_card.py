"""The model card of an exported encoder: what it is, how it is loaded, its rows, parameters and hashes."""

import json
from collections.abc import Sequence
from typing import Any

from contrastbench.pipeline.layout import Job
from contrastbench.results.load import Loaded
from contrastbench.results.metrics import METRICS
from contrastbench.results.order import natural
from contrastbench.results.rows import Row

HASHES = {"params_hash": "parameters of training", "code_hash": "code of training"}


def model_card(job: Job, preset: str, record: dict[str, Any], loaded: Loaded, usage: str, *, library: str) -> str:
    """The card, in Markdown with Hugging Face's header.

    ``record`` is what training has left in ``run.json``, ``loaded`` the preset's rows that count, ``usage`` lines of
    Python that load the encoder and define ``features``.
    """
    rows = [row for row in loaded.rows if _is_of(row, job)]
    facts = {"preset": preset, "track": job.track, "data set": job.dataset, "method": job.method, "seed": job.seed}
    facts |= {"device": record["device"], "steps": record["steps"]}
    if "imported" in record:
        facts["weights from"] = f"{record['imported']['path']}, sha256 {record['imported']['sha256']}"
    facts |= {said: record[key] for key, said in HASHES.items()}
    facts["data trained on" if record["steps"] else "data, not trained on"] = record["data_hash"]
    parts = [
        f"---\nlibrary_name: {library}\ntags: [contrastbench, feature-extraction]\n---",
        f"# {job.method} on {job.dataset}, seed {job.seed}",
        "An encoder without classifier, as contrastbench has trained or imported it and judged it. Run here:",
        f"```python\n{usage}\n```",
        _table(["what", "value"], [[name, str(value)] for name, value in facts.items()]),
        "## Rows",
        _rows(rows, loaded) if rows else "None that count: the preset's protocols were not run, or with others.",
        "## Parameters of training",
        f"```json\n{json.dumps(record['params'], indent=1)}\n```",
    ]
    return "\n\n".join(parts) + "\n"


def _is_of(row: Row, job: Job) -> bool:
    trained = Job(row.track, row.dataset, row.method, row.seed).trained
    return trained == job


def _rows(rows: list[Row], loaded: Loaded) -> str:
    """A line for each value, with what made it; those of older code marked."""
    lines = []
    for row in sorted(rows, key=lambda row: (row.dataset, natural(row.protocol.name), row.metric)):
        metric = METRICS[row.metric]
        ends = " to ".join(map(metric.text, row.interval)) if row.interval else ""
        mark = " †" if row.identity in loaded.older else ""
        failed = "; ".join(row.detail.get("failed_checks", []))
        hashes = [f"`{digits}`" for digits in (row.params_hash, row.data_hash, row.code_hash)]
        value = f"{metric.text(row.value)}{mark}"
        lines.append([row.dataset, row.protocol.name, metric.label, value, ends, str(row.n), *hashes, failed])
    head = ["data", "protocol", "metric", "value", "95 %", "n", "parameters", "data hash", "code", "failed checks"]
    older = "\n\n† made by older code of its stage" if any("†" in line[3] for line in lines) else ""
    return _table(head, lines) + older


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    shown = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in shown)
