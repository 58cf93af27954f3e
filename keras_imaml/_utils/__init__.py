"""Small helpers that know nothing of meta-learning."""
