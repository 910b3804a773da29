"""Variational models of a chosen complexity: the code behind the book."""
