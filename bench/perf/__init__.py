"""Speed: ours against a peer's, alternating in one run, on a workload that is carried here."""
