ARG P
FROM --platform=$P busybox
