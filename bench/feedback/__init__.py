"""Who says what is better: one file a source of preferences or rewards."""
