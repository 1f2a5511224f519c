"""Preference-optimization algorithms: one module a family, one line here per loss."""

from .alphapo import AlphaPO
from .aot import AOT, AOTUnpaired
from .apo import APODown, APOZero
from .bco import BCO
from .bco_pair import BCOPair
from .beta_dpo import BetaDPO
from .bradley_terry import BradleyTerry, BradleyTerryLM
from .cal_dpo import CalDPO
from .cdpo import CDPO
from .chi_po import ChiPO
from .cispo import CISPO
from .cpo import CPO, CPOSimPO, CPOSum
from .csft import CSFT
from .dapo import DAPO
from .discopop import DiscoPOP
from .dpo import DPO
from .dpo_norm import DPONorm
from .dpop import DPOP
from .dr_grpo import DrGRPO
from .exo import EXO
from .f_dpo import FDPOJS, FDPOAlpha, FDPOForwardKL
from .gmpo import GMPO
from .grpo import GRPO
from .gspo import GSPO
from .infonca import InfoNCA
from .ipo import IPO, IPOMean
from .irpo import IRPO
from .kto import KTO
from .ld_dpo import LDDPO
from .mpo import MPO
from .nash_md import NashMD
from .nca import NCA
from .orpo import ORPO, ORPOTokenMean
from .pairwise_k import PairwiseK
from .pl_dpo import PLDPO
from .plackett_luce import PlackettLuce
from .pointwise import Pointwise
from .ppo import PPO
from .ppo_adaptive import PPOAdaptive
from .ppo_max import PPOMax
from .ppo_turns import PPOTurns
from .r_dpo import RDPO
from .reinforce import REINFORCE
from .reinforce_pp import REINFORCEPP, REINFORCEPPBaseline
from .remax import ReMax, ReMaxAuthorsCode
from .rloo import RLOO
from .robust_dpo import RobustDPO
from .rpo import RPO
from .rrhf import RRHF, RRHFAuthorsCode
from .rso import RSO
from .rto import RTO
from .sft import SFT, SFTSum
from .simpo import SimPO
from .slic import SLiC
from .sppo import SPPO
from .tdpo import TDPO1, TDPO2
from .tis_dpo import TISDPO, TISDPOAuthorsCode
from .wpo import WPO
from .xpo import XPO

ALGORITHMS = {
    "alphapo": AlphaPO,
    "aot": AOT,
    "aot_unpaired": AOTUnpaired,
    "apo_down": APODown,
    "apo_zero": APOZero,
    "bco": BCO,
    "bco_pair": BCOPair,
    "beta_dpo": BetaDPO,
    "bradley_terry": BradleyTerry,
    "bradley_terry_lm": BradleyTerryLM,
    "cal_dpo": CalDPO,
    "cdpo": CDPO,
    "chi_po": ChiPO,
    "cispo": CISPO,
    "cpo": CPO,
    "cpo_simpo": CPOSimPO,
    "cpo_sum": CPOSum,
    "csft": CSFT,
    "dapo": DAPO,
    "discopop": DiscoPOP,
    "dpo": DPO,
    "dpo_norm": DPONorm,
    "dpop": DPOP,
    "dr_grpo": DrGRPO,
    "exo": EXO,
    "f_dpo_alpha": FDPOAlpha,
    "f_dpo_forward_kl": FDPOForwardKL,
    "f_dpo_js": FDPOJS,
    "gmpo": GMPO,
    "grpo": GRPO,
    "gspo": GSPO,
    "infonca": InfoNCA,
    "ipo": IPO,
    "ipo_mean": IPOMean,
    "irpo": IRPO,
    "kto": KTO,
    "ld_dpo": LDDPO,
    "mpo": MPO,
    "nash_md": NashMD,
    "nca": NCA,
    "orpo": ORPO,
    "orpo_token_mean": ORPOTokenMean,
    "pairwise_k": PairwiseK,
    "pl_dpo": PLDPO,
    "plackett_luce": PlackettLuce,
    "pointwise": Pointwise,
    "ppo": PPO,
    "ppo_adaptive": PPOAdaptive,
    "ppo_max": PPOMax,
    "ppo_turns": PPOTurns,
    "r_dpo": RDPO,
    "reinforce": REINFORCE,
    "reinforce_pp": REINFORCEPP,
    "reinforce_pp_baseline": REINFORCEPPBaseline,
    "remax": ReMax,
    "remax_authors_code": ReMaxAuthorsCode,
    "rloo": RLOO,
    "robust_dpo": RobustDPO,
    "rpo": RPO,
    "rrhf": RRHF,
    "rrhf_authors_code": RRHFAuthorsCode,
    "rso": RSO,
    "rto": RTO,
    "sft": SFT,
    "sft_sum": SFTSum,
    "simpo": SimPO,
    "slic": SLiC,
    "sppo": SPPO,
    "tdpo1": TDPO1,
    "tdpo2": TDPO2,
    "tis_dpo": TISDPO,
    "tis_dpo_authors_code": TISDPOAuthorsCode,
    "wpo": WPO,
    "xpo": XPO,
}
