"""What a training needs of a machine: digits, fast kernels, worker processes, progress."""
