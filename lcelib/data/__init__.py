"""Word lists and patches that the package ships, and data that it fetches from their authors."""
