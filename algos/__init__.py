"""Preference-optimization algorithms: one module a family, one line here per loss."""

from .alphapo import AlphaPO
from .bco import BCO
from .bradley_terry import BradleyTerry, BradleyTerryLM
from .cpo import CPO, CPOSimPO, CPOSum
from .dpo import DPO
from .infonca import InfoNCA
from .ipo import IPO, IPOMean
from .kto import KTO
from .nca import NCA
from .orpo import ORPO, ORPOTokenMean
from .pairwise_k import PairwiseK
from .pl_dpo import PLDPO
from .plackett_luce import PlackettLuce
from .pointwise import Pointwise
from .ppo import PPO
from .rrhf import RRHF, RRHFAuthorsCode
from .sft import SFT, SFTSum
from .simpo import SimPO
from .slic import SLiC
from .tdpo import TDPO1, TDPO2
from .tis_dpo import TISDPO

ALGORITHMS = {
    "alphapo": AlphaPO,
    "bco": BCO,
    "bradley_terry": BradleyTerry,
    "bradley_terry_lm": BradleyTerryLM,
    "cpo": CPO,
    "cpo_simpo": CPOSimPO,
    "cpo_sum": CPOSum,
    "dpo": DPO,
    "infonca": InfoNCA,
    "ipo": IPO,
    "ipo_mean": IPOMean,
    "kto": KTO,
    "nca": NCA,
    "orpo": ORPO,
    "orpo_token_mean": ORPOTokenMean,
    "pairwise_k": PairwiseK,
    "pl_dpo": PLDPO,
    "plackett_luce": PlackettLuce,
    "pointwise": Pointwise,
    "ppo": PPO,
    "rrhf": RRHF,
    "rrhf_authors_code": RRHFAuthorsCode,
    "sft": SFT,
    "sft_sum": SFTSum,
    "simpo": SimPO,
    "slic": SLiC,
    "tdpo1": TDPO1,
    "tdpo2": TDPO2,
    "tis_dpo": TISDPO,
}

__all__ = [
    "ALGORITHMS",
    "BCO",
    "CPO",
    "DPO",
    "IPO",
    "KTO",
    "NCA",
    "ORPO",
    "PLDPO",
    "PPO",
    "RRHF",
    "SFT",
    "TDPO1",
    "TDPO2",
    "TISDPO",
    "AlphaPO",
    "BradleyTerry",
    "BradleyTerryLM",
    "CPOSimPO",
    "CPOSum",
    "IPOMean",
    "InfoNCA",
    "ORPOTokenMean",
    "PairwiseK",
    "PlackettLuce",
    "Pointwise",
    "RRHFAuthorsCode",
    "SFTSum",
    "SLiC",
    "SimPO",
]
