"""Where data comes from and goes to, one module a protocol: S3, NFS, SMB, SFTP, HTTP, folders of this machine."""
