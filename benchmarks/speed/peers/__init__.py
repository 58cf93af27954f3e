"""The same meta-gradient in other frameworks, each in a process and an environment of its own."""
