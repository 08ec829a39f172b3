FROM debian:12
RUN curl -O https://example.com/x && rm -rf /tmp/x
COPY a /opt/a
RUN rm -rf /opt/b /tmp/*
