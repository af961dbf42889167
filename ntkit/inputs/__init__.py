"""Images and texts as model inputs."""
