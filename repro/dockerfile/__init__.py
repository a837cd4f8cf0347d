"""The Dockerfile front end: text to instructions. Pure: it reads no file and knows no store."""
