"""Functions of texts, ids and numbers: one value per example, whose mean is the metric.

`rouge` and `bertscore` are plain functions; `Rouge` and `BERTScore` give the same values through
the interface of `evaluate`.
"""
