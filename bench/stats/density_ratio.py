"""How much likelier rows are among some than among the others, from the odds of a classifier."""

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit


def density_ratio(features: np.ndarray, among: np.ndarray, low: float, high: float) -> np.ndarray:
    """p(x | among) / p(x | not among) of every row of Float[N, D], kept within low and high: Float[N].

    Logistic regression on standardized features where both classes weigh the same, whatever their
    numbers, with the L2 penalty ½ |w|² beside the sum over rows (that of scikit-learn at C = 1).
    """
    spread = features.std(0)
    x = (features - features.mean(0)) / np.where(spread > 0, spread, 1.0)
    n, wanted = len(x), among.astype(float)
    share = np.where(among, n / (2 * max(among.sum(), 1)), n / (2 * max((~among).sum(), 1)))

    def cost(theta: np.ndarray) -> tuple[float, np.ndarray]:
        w, b = theta[:-1], theta[-1]
        logit = x @ w + b
        off = share * (expit(logit) - wanted)
        loss = (share * (np.logaddexp(0, logit) - wanted * logit)).sum() + 0.5 * w @ w
        return loss, np.append(x.T @ off + w, off.sum())

    theta = minimize(cost, np.zeros(x.shape[1] + 1), jac=True, method="L-BFGS-B").x
    return np.clip(np.exp(x @ theta[:-1] + theta[-1]), low, high)
