"""The build engine: a Dockerfile and a context become an image. It knows no environments."""
