"""A package, so that its files may bear the names of tests beside it."""
