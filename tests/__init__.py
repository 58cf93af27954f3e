"""Tests of keras_imaml."""
