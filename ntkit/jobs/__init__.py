"""What each command does: one package per command."""
