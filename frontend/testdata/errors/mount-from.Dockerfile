FROM busybox
ARG IMAGE=x
RUN --mount=from=$IMAGE,target=/x true
