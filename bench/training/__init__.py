"""Rows to batches, batches to losses, losses to steps, steps to a trained model."""
