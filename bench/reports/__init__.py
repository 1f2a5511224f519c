"""What came out: records of runs, the board made from them, and their publication.

Everything here is a function of record files. It runs without torch, transformers and hydra.
"""
