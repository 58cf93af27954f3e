"""A kit for strong few-shot features. It holds no implicit gradient and promises no stability."""
