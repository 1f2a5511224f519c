"""Preference-optimization algorithms: one module a family, one line here per loss."""

from .bradley_terry import BradleyTerry
from .dpo import DPO
from .ipo import IPO, IPOMean
from .ppo import PPO
from .sft import SFT
from .tdpo import TDPO1, TDPO2

ALGORITHMS = {
    "bradley_terry": BradleyTerry,
    "dpo": DPO,
    "ipo": IPO,
    "ipo_mean": IPOMean,
    "ppo": PPO,
    "sft": SFT,
    "tdpo1": TDPO1,
    "tdpo2": TDPO2,
}

__all__ = [
    "ALGORITHMS",
    "DPO",
    "IPO",
    "PPO",
    "SFT",
    "TDPO1",
    "TDPO2",
    "BradleyTerry",
    "IPOMean",
]
