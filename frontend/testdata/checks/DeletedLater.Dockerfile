FROM debian:12
COPY big.tar.gz /tmp/
RUN tar -xzf /tmp/big.tar.gz -C /opt
RUN rm /tmp/big.tar.gz
