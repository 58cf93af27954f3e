"""How long a meta-step takes, beside other frameworks and part by part."""
