FROM scratch
ENV A=b
WORKDIR /${A#\x}
