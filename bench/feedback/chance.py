"""Chance that hangs on what is judged, and not on when or beside what."""

from hashlib import sha256

import numpy as np


def chance(seed: int, text: str) -> np.random.Generator:
    """Random numbers for one text: the same whenever it comes."""
    digest = int.from_bytes(sha256(text.encode()).digest()[:8], "big")
    return np.random.default_rng([seed, digest])
