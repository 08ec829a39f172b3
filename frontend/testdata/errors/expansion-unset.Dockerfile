FROM scratch
ARG VERSION
COPY a /opt/${VERSION:?is needed}/
