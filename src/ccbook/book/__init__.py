"""The pages of the book, one module a subject."""
