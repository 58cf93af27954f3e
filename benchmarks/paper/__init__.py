"""The figures of the paper, and its own settings to the end."""
