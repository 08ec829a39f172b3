FROM scratch
ENV =x
LABEL =x
ARG =x
