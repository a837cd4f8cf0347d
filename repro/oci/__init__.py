"""OCI images: the model of the image spec, layers as tar, and the content-addressed store."""
