"""Jobs of the commands: one package per command."""
