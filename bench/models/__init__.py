"""Names to language models, text to token ids, ids to log-probabilities, prompts to samples."""
