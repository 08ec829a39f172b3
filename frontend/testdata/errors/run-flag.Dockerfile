FROM scratch
RUN --network=bridge true
RUN --security=none true
