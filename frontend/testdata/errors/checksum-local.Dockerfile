FROM scratch
ADD --checksum=sha256:00 a /c
