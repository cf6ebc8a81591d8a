"""What needs a GPU. Without one every test here is skipped, with the reason."""
