"""Word lists and patches shipped with the package, and data fetched from their authors."""
