"""Preference-optimization algorithms: one module a family, one line here per loss."""

from .aot import AOT, AOTUnpaired
from .apo import APODown, APOZero
from .bco_pair import BCOPair
from .beta_dpo import BetaDPO
from .bradley_terry import BradleyTerry
from .cal_dpo import CalDPO
from .cdpo import CDPO
from .chi_po import ChiPO
from .discopop import DiscoPOP
from .dpo import DPO
from .dpo_norm import DPONorm
from .dpop import DPOP
from .exo import EXO
from .f_dpo import FDPOJS, FDPOAlpha, FDPOForwardKL
from .ipo import IPO, IPOMean
from .irpo import IRPO
from .ld_dpo import LDDPO
from .mpo import MPO
from .ppo import PPO
from .r_dpo import RDPO
from .robust_dpo import RobustDPO
from .rpo import RPO
from .rso import RSO
from .sft import SFT
from .sppo import SPPO
from .tdpo import TDPO1, TDPO2
from .wpo import WPO

ALGORITHMS = {
    "aot": AOT,
    "aot_unpaired": AOTUnpaired,
    "apo_down": APODown,
    "apo_zero": APOZero,
    "bco_pair": BCOPair,
    "beta_dpo": BetaDPO,
    "bradley_terry": BradleyTerry,
    "cal_dpo": CalDPO,
    "cdpo": CDPO,
    "chi_po": ChiPO,
    "discopop": DiscoPOP,
    "dpo": DPO,
    "dpo_norm": DPONorm,
    "dpop": DPOP,
    "exo": EXO,
    "f_dpo_alpha": FDPOAlpha,
    "f_dpo_forward_kl": FDPOForwardKL,
    "f_dpo_js": FDPOJS,
    "ipo": IPO,
    "ipo_mean": IPOMean,
    "irpo": IRPO,
    "ld_dpo": LDDPO,
    "mpo": MPO,
    "ppo": PPO,
    "r_dpo": RDPO,
    "robust_dpo": RobustDPO,
    "rpo": RPO,
    "rso": RSO,
    "sft": SFT,
    "sppo": SPPO,
    "tdpo1": TDPO1,
    "tdpo2": TDPO2,
    "wpo": WPO,
}

__all__ = [
    "ALGORITHMS",
    "AOT",
    "CDPO",
    "DPO",
    "DPOP",
    "EXO",
    "FDPOJS",
    "IPO",
    "IRPO",
    "LDDPO",
    "MPO",
    "PPO",
    "RDPO",
    "RPO",
    "RSO",
    "SFT",
    "SPPO",
    "TDPO1",
    "TDPO2",
    "WPO",
    "AOTUnpaired",
    "APODown",
    "APOZero",
    "BCOPair",
    "BetaDPO",
    "BradleyTerry",
    "CalDPO",
    "ChiPO",
    "DPONorm",
    "DiscoPOP",
    "FDPOAlpha",
    "FDPOForwardKL",
    "IPOMean",
    "RobustDPO",
]
