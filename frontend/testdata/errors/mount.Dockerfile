FROM busybox
RUN --mount=type=cach,target=/x true
RUN --mount=type=cache,tagret=/x true
RUN --mount=type=bind,target=/x,mode=0644 true
RUN --mount=type=tmpfs,target=/x,size=lots true
RUN --mount=type=secret true
RUN --mount=type=cache,target=/x,sharing=mine true
