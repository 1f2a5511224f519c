"""What is to be learned: rows of text, and where possible a program that judges the answer."""
