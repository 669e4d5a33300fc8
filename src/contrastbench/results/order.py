"""The order in which people count."""

import re


def natural(text: str) -> list:
    """Sort key that puts ``low-label-5`` before ``low-label-20``."""
    parts = re.split(r"(\d+(?:\.\d+)?)", text)
    return [(1, float(part), "") if index % 2 else (0, 0.0, part) for index, part in enumerate(parts)]
